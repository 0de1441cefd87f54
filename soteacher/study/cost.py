"""What a run costs, worked out from its spec before it runs: arithmetic and bytes kept.

Of a distiller only the teacher's forward pass is counted, and further views of an image: a method's
own layers and preparation come on top. Of a regularizer, too, only further views are counted: the
others cost next to nothing beside the network, AugMix's operations somewhat more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from soteacher.data.sources.base import Outline
from soteacher.models import catalogue

FORWARD_AND_BACKWARD = 3
"""Forward passes that a training step on an image costs: one, and a backward pass of about two."""
RECORDS = 12_000
"""Bytes of a run's records, of the names in its weights, and of its batch norms' statistics."""
EPOCH = 100
"""Bytes of a row of the history."""


def pass_flop(specs: Sequence[dict[str, Any]], outline: Outline) -> list[float]:
    """FLOP of each run of one pass, with an equal part of what they share: their teacher.

    Every training image of an epoch goes forward and backward, every test image forward after
    each epoch and at the end; there the training images too, if their true label distributions
    are known. The teacher goes forward on each training image, once for all its students.
    """
    shared = 0
    if "teacher" in specs[0]:
        images = _views(specs[0], outline) * specs[0]["recipe"]["epochs"]
        shared = images * _forward(specs[0]["teacher"], outline)
    return [_alone(spec, outline) + shared / len(specs) for spec in specs]


def _alone(spec: dict[str, Any], outline: Outline) -> int:
    epochs = spec["recipe"]["epochs"]
    trained = _views(spec, outline) * epochs
    images = trained * FORWARD_AND_BACKWARD + outline.n_test * (epochs + 1)
    if "true_labels" in spec["data"]:
        images += outline.n_train
    return images * _forward(spec, outline)


def _views(spec: dict[str, Any], outline: Outline) -> int:
    """Views of training images in an epoch."""
    stream = spec["stream"]
    views: int = stream.get("turns", 1) * stream.get("views", 1)
    return outline.n_train * views


def step_flop(spec: dict[str, Any], outline: Outline) -> int:
    """FLOP of a teacher's training step on a whole batch."""
    batch: int = spec["recipe"]["batch"]
    return batch * FORWARD_AND_BACKWARD * _forward(spec, outline)


def _forward(spec: dict[str, Any], outline: Outline) -> int:
    network = spec["network"]["name"]
    return catalogue.flops(network, outline.height, outline.width, outline.n_classes)


def run_bytes(spec: dict[str, Any], outline: Outline) -> int:
    """What a finished run keeps in the store: weights and logits, float32; checkpoints; records."""
    recipe = spec["recipe"]
    every = recipe.get("keep_every", 0)
    checkpoints = (recipe["epochs"] - 1) // every if every else 0  # the last are the weights
    weights = 4 * catalogue.parameters(spec["network"]["name"], outline.n_classes)
    images = outline.n_test + (outline.n_train if "true_labels" in spec["data"] else 0)
    records = RECORDS + EPOCH * recipe["epochs"]
    return (checkpoints + 1) * weights + images * outline.n_classes * 4 + records


def data_bytes(spec: dict[str, Any], outline: Outline) -> int:
    """Prepared arrays: uint8 pixels, int64 labels, float64 true distributions if known."""
    image = outline.height * outline.width * 3 + 8
    if "true_labels" in spec:
        image += outline.n_classes * 8
    return (outline.n_train + outline.n_test) * image
