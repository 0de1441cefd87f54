"""What a run costs, worked out from its spec before it runs: arithmetic and bytes kept.

Of a distiller only the teacher's forward pass is counted, and further views of an image: a method's
own layers and preparation come on top. Of a regularizer, too, only further views are counted: the
others cost next to nothing beside the network, AugMix's operations somewhat more.
"""

from __future__ import annotations

from collections.abc import Sequence

from soteacher.data.sources.base import Outline
from soteacher.data.spec import DataSpec
from soteacher.models import catalogue
from soteacher.study.specs import RunSpec

FORWARD_AND_BACKWARD = 3
"""Forward passes that a training step on an image costs: one, and a backward pass of about two."""
RECORDS = 12_000
"""Bytes of a run's records, of the names in its weights, and of its batch norms' statistics."""
EPOCH = 100
"""Bytes of a row of the history."""


def pass_flop(specs: Sequence[RunSpec], outline: Outline) -> list[float]:
    """FLOP of each run of one pass, with an equal part of what they share: their teacher.

    Every training image of an epoch goes forward and backward, every test image forward after
    each epoch and at the end; there the training images too, if their true label distributions
    are known. The teacher goes forward on each training image, once for all its students.
    """
    shared = 0
    if specs[0].teacher is not None:
        images = _views(specs[0], outline) * specs[0].recipe.epochs
        shared = images * _forward(specs[0].teacher, outline)
    return [_alone(spec, outline) + shared / len(specs) for spec in specs]


def _alone(spec: RunSpec, outline: Outline) -> int:
    epochs = spec.recipe.epochs
    trained = _views(spec, outline) * epochs
    images = trained * FORWARD_AND_BACKWARD + outline.n_test * (epochs + 1)
    if spec.data.true_labels is not None:
        images += outline.n_train
    return images * _forward(spec, outline)


def _views(spec: RunSpec, outline: Outline) -> int:
    """Views of training images in an epoch."""
    return outline.n_train * spec.stream.turns * spec.stream.views


def step_flop(spec: RunSpec, outline: Outline) -> int:
    """FLOP of a teacher's training step on a whole batch."""
    return spec.recipe.batch * FORWARD_AND_BACKWARD * _forward(spec, outline)


def _forward(spec: RunSpec, outline: Outline) -> int:
    return catalogue.flops(spec.network.name, outline.height, outline.width, outline.n_classes)


def run_bytes(spec: RunSpec, outline: Outline) -> int:
    """What a finished run keeps in the store: weights and logits, float32; checkpoints; records."""
    every, epochs = spec.recipe.keep_every, spec.recipe.epochs
    checkpoints = (epochs - 1) // every if every else 0  # the last are the weights
    weights = 4 * catalogue.parameters(spec.network.name, outline.n_classes)
    images = outline.n_test + (outline.n_train if spec.data.true_labels is not None else 0)
    records = RECORDS + EPOCH * epochs
    return (checkpoints + 1) * weights + images * outline.n_classes * 4 + records


def data_bytes(spec: DataSpec, outline: Outline) -> int:
    """Prepared arrays: uint8 pixels, int64 labels, float64 true distributions if known."""
    image = outline.height * outline.width * 3 + 8
    if spec.true_labels is not None:
        image += outline.n_classes * 8
    return (outline.n_train + outline.n_test) * image
