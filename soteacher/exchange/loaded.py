"""Trained networks of the store, and exported ones, as modules in eval mode."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from soteacher.core import files
from soteacher.core.errors import UserError, short
from soteacher.core.lazy import numpy as np
from soteacher.core.sealed import Form, read_sealed
from soteacher.models import catalogue
from soteacher.models.outside import outside
from soteacher.store.run_folder import RunFolder
from soteacher.study.network_files import load_networks
from soteacher.study.spec_parts import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

CARD, WEIGHTS = "config.json", "model.safetensors"
"""The description and the weights in a folder of an exported network."""
SIZE = (32, 32)
"""Height and width for networks that are the same for all images, as all of this package are."""
REMEDY = "write the folder again with `soteacher export` or `soteacher import-teacher`"
"""What to do about a damaged folder of an exported network."""


class Loaded(NamedTuple):
    """A network in eval mode, and what is known about it."""

    network: nn.Module
    record: dict[str, Any]
    """The record of its run, or of the folder that it was exported to."""


class Identity(Form):
    """The entries of a `NetworkSpec`; it also has where a network from outside comes from."""

    name: str
    revision: int


class Card(Form):
    """The entries of `config.json` that a reader needs."""

    network: str
    n_classes: int
    weights_sha256: str
    network_spec: Identity | None = None
    """Folders of earlier versions lack it: their networks are not compared."""


def load(path: str | Path, networks: Iterable[str | Path] = ()) -> Loaded:
    """Return a trained network in eval mode, on the CPU, and its record.

    path : the folder of a run, such as `results/demo/teachers/digits/wrn_10_2/standard/seed10` or a
        folder in the store, or a folder that `soteacher export` or `import-teacher` wrote.
    networks : network files, if the network is from one that no study of this process lists.

    The network takes normalised images, (B, 3, H, W), and returns `Output(logits, features)`. Its
    weights are compared with their recorded hash, and the code of a network file, or the version of
    a network's package, with the recorded one. Raises `UserError` if there is no such network.
    """
    load_networks(networks, "networks")
    folder = Path(path)
    if files.is_file(folder / CARD, "the description of a network"):
        return _exported(folder)
    run = run_of(folder)
    record = finished(run)
    logits = np.load(run.artifact("test_logits.npy"), mmap_mode="r")
    spec = NetworkSpec.from_json(record["spec"]["network"])
    spec.check()
    size = tuple(record.get("image_size", SIZE))
    weights = run.artifact("weights.safetensors")
    return Loaded(_network(spec.name, logits.shape[1], size, weights), record)


def run_of(path: str | Path) -> RunFolder:
    """Return the run in a folder, or behind a link to one; `UserError` if there is none."""
    folder = Path(path).resolve()
    if folder.parent.name != "runs" or not files.is_file(folder / "spec.json", "a run"):
        raise UserError(
            f"{path} is not the folder of a run; expected one of results/STUDY/teachers/..., "
            "results/STUDY/students/... or STORE/runs/..."
        )
    facts = RunFolder(folder.parents[1], folder.name, str(path)).description()
    return RunFolder(folder.parents[1], facts["fingerprint"], facts["id"])


def finished(run: RunFolder) -> dict[str, Any]:
    """Return the record of a run with a trained network; `UserError` for any other run."""
    record = run.record()
    if record is None or record["status"] != "done":
        state = "not finished" if record is None else record["status"]
        raise UserError(f"{run.id} is {state}; expected a run that is done")
    if record["spec"]["role"] == "preparation" or "weights.safetensors" not in record["artifacts"]:
        raise UserError(f"{run.id} has no network; expected a trained teacher or student")
    if record["spec"].get("held_out", {}).get("use") == "cross_fit":
        raise UserError(
            f"{run.id} is cross-fitted: it has one network for each fold of the training images; "
            "expected a run with one network"
        )
    return record


def _exported(folder: Path) -> Loaded:
    what = "the description of a network"
    card = read_sealed(folder / CARD, what, Card, remedy=f"; {REMEDY}")
    weights = files.checked(folder / WEIGHTS, card["weights_sha256"], "the file of weights", REMEDY)
    _check_network(folder, card)
    size = card.get("height", SIZE[0]), card.get("width", SIZE[1])
    return Loaded(_network(card["network"], card["n_classes"], size, weights), card)


def _check_network(folder: Path, card: dict[str, Any]) -> None:
    """Raise `UserError` unless the network is known here and is the one that was exported."""
    name = card["network"]
    spec = card.get("network_spec")
    written = None if spec is None else NetworkSpec.from_json(spec)
    origin = "" if written is None else f" of {_origin(written)}"
    if not catalogue.is_shipped(name) and outside(name) is None:
        raise UserError(
            f"the network '{name}'{origin}, which {folder} needs, is not known here: give its file "
            f"to soteacher.load by networks=['{name}.py'], or install the package that has it"
        )
    now = NetworkSpec.of(name)
    if written is None or now.to_json() == written.to_json():
        return
    if "code_sha256" in written.origin:
        remedy = "give the file with that content to soteacher.load by networks=[...]"
    elif "package" in written.origin:
        remedy = f"install {written.origin['package']}"
    else:
        remedy = f"install {card.get('exported_by', 'the soteacher that wrote the folder')}"
    raise UserError(
        f"{folder} was written with the network '{name}'{origin}, but now it is of {_origin(now)}; "
        f"expected the same code: {remedy}"
    )


def _origin(spec: NetworkSpec) -> str:
    if "code_sha256" in spec.origin:
        return f"a file with sha256 {spec.origin['code_sha256'][:16]}..."
    return spec.origin.get("package", f"soteacher, revision {spec.revision}")


def _network(name: str, n_classes: int, size: tuple[int, int], weights: Path) -> nn.Module:
    from safetensors.torch import load_file

    network = catalogue.build(name, n_classes, size)
    try:
        network.load_state_dict(load_file(weights))
    except RuntimeError as error:  # the code has changed, and no identity was recorded
        raise UserError(
            f"{weights} does not fit the network {name}: {short(files.reason(error))}; use the "
            "code of the network that the weights are from"
        ) from None
    return network.eval()
