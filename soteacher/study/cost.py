"""The cost of a run, computed from its spec: FLOP and bytes in the store.

For a distiller, only the teacher's forward pass and additional views of images are counted, not its
layers and its preparation. For a regularizer, only additional views are counted: the other costs
are negligible compared with the network's, those of AugMix's operations are somewhat larger.
"""

from __future__ import annotations

from collections.abc import Sequence

from soteacher.data.sources.base import Outline
from soteacher.data.spec import DataSpec
from soteacher.models import catalogue
from soteacher.study.specs import RunSpec

FORWARD_AND_BACKWARD = 3
"""Cost of a training step per image, in forward passes: the backward pass costs about two."""
RECORDS = 12_000
"""Bytes of a run's records, the names in its weights, and the statistics of its batch norms."""
EPOCH = 100
"""Bytes of a row of the history."""


def pass_flop(specs: Sequence[RunSpec], outline: Outline) -> list[float]:
    """Return the FLOP of each run of one pass, with an equal share of their teacher's FLOP.

    Each epoch has a forward and a backward pass of every training image, and a forward pass of
    every test image. At the end, there is one more forward pass of the test images and, if their
    true label distributions are known, of the training images. The teacher has one forward pass of
    each training image per epoch, for all of its students.
    """
    shared = 0
    if specs[0].teacher is not None:
        images = _views(specs[0], outline) * specs[0].recipe.epochs
        shared = images * _forward(specs[0].teacher, outline)
    return [_own_flop(spec, outline) + shared / len(specs) for spec in specs]


def _own_flop(spec: RunSpec, outline: Outline) -> int:
    """Return the FLOP of a run without its teacher's."""
    epochs = spec.recipe.epochs
    trained = _views(spec, outline) * epochs
    images = trained * FORWARD_AND_BACKWARD + outline.n_test * (epochs + 1)
    if spec.data.true_labels is not None:
        images += outline.n_train
    return images * _forward(spec, outline)


def _views(spec: RunSpec, outline: Outline) -> int:
    """Return the number of views of training images in an epoch."""
    return outline.n_train * spec.stream.turns * spec.stream.views


def step_flop(spec: RunSpec, outline: Outline) -> int:
    """Return the FLOP of a teacher's training step on a full batch."""
    return spec.recipe.batch * FORWARD_AND_BACKWARD * _forward(spec, outline)


def _forward(spec: RunSpec, outline: Outline) -> int:
    return catalogue.flops(spec.network.name, outline.height, outline.width, outline.n_classes)


def run_bytes(spec: RunSpec, outline: Outline) -> int:
    """Return the bytes of a finished run: weights and logits, float32; checkpoints; records."""
    every, epochs = spec.recipe.keep_every, spec.recipe.epochs
    checkpoints = (epochs - 1) // every if every else 0  # the last are the weights
    weights = 4 * catalogue.parameters(spec.network.name, outline.n_classes)
    images = outline.n_test + (outline.n_train if spec.data.true_labels is not None else 0)
    records = RECORDS + EPOCH * epochs
    return (checkpoints + 1) * weights + images * outline.n_classes * 4 + records


def data_bytes(spec: DataSpec, outline: Outline) -> int:
    """Return the bytes of prepared arrays: uint8 pixels, int64 labels, float64 distributions."""
    image = outline.height * outline.width * 3 + 8
    if spec.true_labels is not None:
        image += outline.n_classes * 8
    return (outline.n_train + outline.n_test) * image
