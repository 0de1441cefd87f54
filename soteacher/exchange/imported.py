"""Networks that were trained elsewhere, from their state dicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soteacher.core import files
from soteacher.data.prepared import Prepared
from soteacher.exchange.export import write_network
from soteacher.models.state_dicts import network_of
from soteacher.training.evaluate import Evaluator
from soteacher.training.imported import finite_logits


def import_teacher(path: Path, name: str, data: Prepared, folder: Path) -> dict[str, Any]:
    """Write the network of a state dict to a new folder; return what `config.json` says.

    path : a `.safetensors` file or one that `torch.save` wrote.   name : of a network.
    The entry `renamed` is our names to the file's, for those that differ, and
    `by_order` says whether tensors were matched by their order; `test_top1` is the
    network's accuracy on the test images, measured here with our normalisation.
    Raises `UserError` if the file holds no state dict, or one that does not fit the network,
    or if the network's logits are not finite.
    """
    size = data.outline.height, data.outline.width
    network, renamed, by_order = network_of(path, name, data.n_classes, size)
    logits = finite_logits(Evaluator(data, "cpu"), network, "test", path)
    accuracy = float((logits.argmax(axis=1) == data.test_classes).mean())
    imported = {
        "file": path.name,
        "file_sha256": files.sha256_of(path),
        "renamed": renamed,
        "by_order": by_order,
    }
    origin = f"Trained elsewhere; imported by soteacher from `{path.name}`."
    facts = {"test_top1": accuracy, "imported": imported}
    summary = {key: imported[key] for key in ("file", "file_sha256")}
    return write_network(folder, network, name, data, facts, origin, summary)
