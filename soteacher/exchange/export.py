"""Folders of a trained network for use without this package, in the layout of Hugging Face."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soteacher.core import files
from soteacher.core.errors import Damaged, UserError
from soteacher.core.lazy import torch
from soteacher.core.sealed import write_sealed
from soteacher.core.version import VERSION
from soteacher.data.prepared import Prepared, stored_data
from soteacher.exchange.loaded import CARD, WEIGHTS, load, run_of
from soteacher.study.spec_parts import NetworkSpec

if TYPE_CHECKING:
    from torch import nn

STATE_DICT, MODEL_CARD = "pytorch_model.bin", "README.md"

TEXT = """---
library_name: soteacher
pipeline_tag: image-classification
tags:
- image-classification
- knowledge-distillation
- soteacher
---

# {network} on {data}

{origin}

| | |
| --- | --- |
| network | `{network}`, {parameters:,} trainable parameters |
| images | {height}x{width} pixels, RGB, {n_classes} classes |
| normalisation | pixels from 0 to 1, minus mean {mean}, over std {std} |
| test accuracy | {accuracy:.2%} of {n_test:,} images, in eval mode, {tested} |

## Use

With soteacher:

```python
import soteacher

network, record = soteacher.load("PATH OF THIS FOLDER")
logits, features = network(images)  # normalised images, (B, 3, height, width)
```

Without it, read `model.safetensors` with `safetensors.torch.load_file`, or `pytorch_model.bin` with
`torch.load(..., weights_only=True)`. Both hold the same state dict.

## Settings

`config.json` has the classes, in the order of the logits, and these settings:

```json
{settings}
```
"""


def export(run: str | Path, folder: Path, networks: Iterable[str | Path] = ()) -> dict[str, Any]:
    """Write a run's network to a new folder; return what `config.json` says.

    run : the folder of a run, as `soteacher.load` takes it. The prepared data of the run must be in
    its store, because they say how images are normalised.   networks : network files, if needed.
    """
    place = run_of(run)
    network, record = load(place.path, networks)
    data = _data_of(place.path.parents[1], record["data_sha256"])
    facts = {
        "run": place.id,
        "spec": record["spec"],
        "test_top1": record["last_test_top1"],
        "soteacher": record["soteacher"],
    }
    origin = f"Trained by soteacher {record['soteacher']} as the run `{place.id}`."
    name = record["spec"]["network"]["name"]
    return write_network(folder, network, name, data, facts, origin, record["spec"])


def write_network(
    folder: Path,
    network: nn.Module,
    name: str,
    data: Prepared,
    facts: dict[str, Any],
    origin: str,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Write weights in two formats, the description and the model card; return the description.

    facts : entries of the description; `test_top1` is needed.   origin : a sentence for the card.
    """
    from safetensors.torch import save

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; choose a new one, or delete it")
    tensors = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    sha256 = files.write_hashed(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    state_dict = io.BytesIO()
    torch.save(tensors, state_dict)
    files.write(folder / STATE_DICT, state_dict.getvalue())
    outline, manifest = data.outline, data.manifest
    sizes = {"n_classes": data.n_classes, "height": outline.height, "width": outline.width}
    card = {
        "network": name,
        "network_spec": NetworkSpec.of(name).to_json(),
        **sizes,
        "classes": manifest["classes"],
        "mean": manifest["mean"],
        "std": manifest["std"],
        "data": manifest["spec"],
        "data_sha256": data.sha256,
        "weights_sha256": sha256,
        "exported_by": f"soteacher {VERSION}",
        **facts,
    }
    tested = "the image as it is"
    if outline.stored_size is not None:
        stored = f"{outline.stored_size}x{outline.stored_size}"
        tested = f"the whole image of {stored} pixels resized (bilinear, antialiased)"
    text = TEXT.format(
        **sizes,
        tested=tested,
        network=name,
        data=manifest["spec"]["source"],
        origin=origin,
        mean=manifest["mean"],
        std=manifest["std"],
        parameters=sum(p.numel() for p in network.parameters()),
        accuracy=facts["test_top1"],
        n_test=outline.n_test,
        settings=json.dumps(settings, indent=2, sort_keys=True),
    )
    files.write(folder / MODEL_CARD, text)
    write_sealed(folder / CARD, card)  # last: it says that the folder is complete
    return card


def _data_of(store: Path, sha256: str) -> Prepared:
    """Return the prepared data with this hash; `UserError` if the store no longer has them."""
    for folder in sorted((store / "data").glob("*")):
        try:
            data = stored_data(folder)
        except Damaged:
            continue
        if data is not None and data.sha256 == sha256:
            return data
    raise UserError(
        f"the store {store} no longer has the run's data set, which says how images are "
        "normalised; rerun the study's snakemake command, which prepares it again"
    )
