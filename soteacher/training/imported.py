"""The artifacts and the record of an imported teacher, from its file of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import nn

from soteacher.core import files
from soteacher.core.errors import Damaged, UserError
from soteacher.data.prepared import Prepared
from soteacher.models.state_dicts import network_of
from soteacher.study.imported import IMPORT
from soteacher.training import device as devices
from soteacher.training import records, untrained
from soteacher.training.evaluate import Evaluator
from soteacher.training.members import JobOptions, Member
from soteacher.training.teacher import placed
from soteacher.training.writers import Writer, array_writer, weights_writer


def finish(members: list[Member], data: Prepared, options: JobOptions) -> dict[str, UserError]:
    """Write the weights, the logits and the record of imported teachers; measure their accuracy.

    The seeds of a teacher have the same network, which is evaluated once.

    Returns
    -------
    dict
        Run id to error, for the runs whose file cannot be used.
    """
    data.check()
    [precision] = {member.spec.precision for member in members}  # a study has one
    device = devices.set_up(options.device, options.threads, precision, options.deterministic)
    evaluator = Evaluator(data, device)
    equal: dict[str, list[Member]] = {}
    for member in sorted(members, key=lambda member: member.id):
        equal.setdefault(member.spec.with_seed(0).canonical, []).append(member)
    refused: dict[str, UserError] = {}
    for seeds in equal.values():
        try:
            _finish(seeds, data, evaluator, device)
        except UserError as error:
            first = UserError(f"{seeds[0].id}: {error}")
            refused |= dict.fromkeys((member.id for member in seeds), first)
    return refused


def _finish(seeds: list[Member], data: Prepared, evaluator: Evaluator, device: str) -> None:
    """Write the files of one teacher, for each of its seeds."""
    spec, path = seeds[0].spec, _checked(seeds[0])
    spec.network.check()
    size = data.outline.height, data.outline.width
    network, renamed, _ = network_of(path, spec.network.name, data.n_classes, size)
    network = placed(network, device)
    splits = ("test", "train") if data.has_truth else ("test",)
    logits = {split: finite_logits(evaluator, network, split, path) for split in splits}
    artifacts: dict[str, Writer] = {"weights.safetensors": weights_writer(network)}
    artifacts |= {f"{split}_logits.npy": array_writer(rows) for split, rows in logits.items()}
    known = {
        "last_test_top1": float((logits["test"].argmax(axis=1) == data.test_classes).mean()),
        "imported": {"file": path.name, "renamed": renamed},
        "evaluated_on": devices.facts(device, spec.precision),
        **records.of_network(spec.network.name, data),
    }
    for member in seeds:
        untrained.finish(member, data, artifacts, known)


def finite_logits(evaluator: Evaluator, network: nn.Module, split: str, path: Path) -> np.ndarray:
    """Return the logits of the images of a split, (N, K) float32.

    path : the file of the weights.   Raises `UserError` if a logit is not finite: weights can be
    finite, and a negative variance or large weights give logits that are not.
    """
    logits = evaluator.logits(network, split)
    if wrong := int((~np.isfinite(logits).all(axis=1)).sum()):
        raise UserError(
            f"the network of {path} has logits that are not finite for {wrong} of {len(logits)} "
            f"{split} images; expected a network that was trained without diverging, for images "
            "that are normalised as those of this data set: choose another file"
        )
    return logits


def _checked(member: Member) -> Path:
    """Return the path of the file of weights, whose content must be the planned one."""
    weights = member.spec.weights
    assert weights is not None
    if weights.revision != IMPORT:
        raise UserError(
            f"the plan needs revision {weights.revision} of the import of weights, but revision "
            f"{IMPORT} is installed: rerun snakemake with the version that is installed"
        )
    if member.weights is None:
        raise UserError(
            "the list of runs does not say where the file of weights is: rerun snakemake with the "
            "version that is installed"
        )
    path = Path(member.weights)
    if not files.is_file(path, "the weights"):
        raise UserError(f"there is no file {path} any more; put it back, or correct `weights`")
    try:
        return files.checked(path, weights.sha256, "the weights")
    except Damaged:
        raise UserError(
            f"{path} has changed since the study was read; rerun the same snakemake command, which "
            "plans the runs of the new file"
        ) from None
