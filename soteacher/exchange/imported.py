"""Networks that were trained elsewhere, from their state dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soteacher.core import files
from soteacher.data.prepared import Prepared
from soteacher.exchange.export import write_network
from soteacher.exchange.state_dicts import fitted, read_state_dict
from soteacher.models import catalogue
from soteacher.training.evaluate import Evaluator


def import_teacher(path: Path, name: str, data: Prepared, folder: Path) -> dict[str, Any]:
    """Write the network of a state dict to a new folder; return what `config.json` says.

    path : a `.safetensors` file or one that `torch.save` wrote.   name : of a network.
    The entry `renamed` is our names to the file's, for those that differ; `test_top1` is the
    network's accuracy on the test images, measured here with our normalisation.
    Raises `UserError` if the file holds no state dict, or one that does not fit the network.
    """
    given = read_state_dict(path)
    network = catalogue.build(name, data.n_classes, (data.outline.height, data.outline.width))
    tensors, theirs = fitted(given, network, f"{name} with {data.n_classes} classes")
    network.load_state_dict(tensors)
    accuracy = Evaluator(data, "cpu").top1(network)
    imported = {
        "file": path.name,
        "file_sha256": files.sha256_of(path),
        "renamed": {ours: key for ours, key in theirs.items() if ours != key},
    }
    origin = f"Trained elsewhere; imported by soteacher from `{path.name}`."
    facts = {"test_top1": accuracy, "imported": imported}
    summary = {key: imported[key] for key in ("file", "file_sha256")}
    return write_network(folder, network, name, data, facts, origin, summary)
