"""The cost of a run, computed from its spec: FLOP and bytes in the store.

For a distiller, only the teacher's forward pass and additional views of images are counted, not its
layers and its preparation. For a regularizer, only additional views and predictions of the training
images are counted: the other costs are negligible compared with the network's, those of AugMix's
operations are somewhat larger.
"""

from __future__ import annotations

import math
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
PROCESS = 750_000_000
"""Bytes of a training process on a CPU without networks and images, most of them torch's."""
OF_A_WEIGHT = 4
"""Numbers in memory per weight: itself, its gradient, its momentum, and a copy to be saved."""
OF_A_VALUE = 3.5
"""Numbers in memory per value of a convolution's output in a training step: the output, what norms
and activations make of it, and a part of the gradients."""
OF_THE_LARGEST = 8
"""Numbers in memory per value of the largest output in a test: the returned features."""
OF_A_VALUE_ON_A_GPU, OF_A_TEACHER_S_VALUE = 2.4, 0.4
"""Numbers in a GPU's memory per value of a convolution's output in a training step: what is kept
for the backward pass and a part of the gradients, and the features that a teacher returns. They
are counted on torch's meta device (`tests/oracle/test_step_counts.py`), not measured on a GPU."""
CONTEXT = 600_000_000
"""Bytes of a GPU's memory that a process takes before it trains: CUDA's context and the workspaces
of its libraries. It is recalled, not measured."""
TEST_BATCH = 512
"""Number of images that are tested at once."""
KEEPS_PREDICTIONS = "consistency"
"""The regularizer that keeps a prediction of every training image."""


def pass_flop(specs: Sequence[RunSpec], outline: Outline) -> list[float]:
    """Return the FLOP of each run of one pass, with an equal share of their teacher's FLOP.

    Each epoch has a forward and a backward pass of every training image, or a forward pass if the
    image chooses the epoch. Each tested epoch has a forward pass of every test image. If a loss
    term takes logits of the training images, there is a forward pass of these after each epoch but
    the last, or before each epoch of fine-tuning. A cross-fitted teacher has all this of each
    network, and the images that the network is not trained on are left out. At the end, there is
    one more forward pass of the test images and, if their true label distributions are known, of
    the training images. The teacher has one forward pass of each training image per epoch, for all
    of its students. An imported teacher has no epochs here.
    """
    shared = 0
    if specs[0].teacher is not None:
        images = _views(specs[0], outline) * specs[0].recipe.epochs
        shared = images * _forward(specs[0].teacher, outline)
    return [_own_flop(spec, outline) + shared / len(specs) for spec in specs]


def _own_flop(spec: RunSpec, outline: Outline) -> int:
    """Return the FLOP of a run without its teacher's."""
    epochs = spec.recipe.epochs if spec.is_trained else 0
    trained = _views(spec, outline) * epochs
    tests = spec.tested_epochs + 1 if spec.is_trained else 1
    images = trained * FORWARD_AND_BACKWARD + outline.n_test * tests * spec.n_networks
    if spec.is_early_stopped:
        images += (outline.n_train - sum(spec.trained_images(outline.n_train))) * epochs
    images += taken_images(spec, outline) * taken_epochs(spec)
    if spec.data.true_labels is not None:
        images += outline.n_train
    return images * _forward(spec, outline)


def taken_images(spec: RunSpec, outline: Outline) -> int:
    """Return the number of training images that are predicted after an epoch for loss terms."""
    taken = any(part.takes_train_logits for part in spec.parts())
    return sum(spec.trained_images(outline.n_train)) if taken else 0


def taken_epochs(spec: RunSpec) -> int:
    """Return the number of epochs after which a loss term may take predictions."""
    return spec.recipe.epochs - max(1, spec.recipe.terms_from)


def _views(spec: RunSpec, outline: Outline) -> int:
    """Return the number of views of training images in an epoch, of all networks together."""
    return sum(spec.trained_images(outline.n_train)) * spec.stream.turns * spec.stream.views


def step_flop(spec: RunSpec, outline: Outline) -> int:
    """Return the FLOP of a teacher's training step on a full batch."""
    return spec.recipe.batch * FORWARD_AND_BACKWARD * _forward(spec, outline)


def _forward(spec: RunSpec, outline: Outline) -> int:
    return catalogue.flops(spec.network.name, *outline.of_network)


def run_bytes(spec: RunSpec, outline: Outline) -> int:
    """Return the bytes of a finished run: weights and logits, float32; checkpoints; records."""
    every, epochs = spec.recipe.keep_every, spec.recipe.epochs
    checkpoints = (epochs - 1) // every if every else 0  # the last are the weights
    weights = 4 * catalogue.parameters(spec.network.name, *outline.of_network) * spec.n_networks
    images = outline.n_test + (outline.n_train if spec.data.true_labels is not None else 0)
    records = RECORDS + EPOCH * epochs
    return (checkpoints + 1) * weights + images * outline.n_classes * 4 + records


def training_bytes(specs: Sequence[RunSpec], outline: Outline) -> int:
    """Return the peak memory of training the runs of one pass, with their images.

    It is an estimate from measured runs on a CPU, without a distiller's own layers.
    """
    # the runs train in turn
    return PROCESS + _kept_bytes(specs, outline) + max(_of_network(run, outline) for run in specs)


def gpu_bytes(specs: Sequence[RunSpec], outline: Outline) -> int:
    """Return the peak memory on a GPU of training the runs of one pass, in float32.

    It is an estimate, without a distiller's own layers; nothing was measured on a GPU. Images and
    weights are as in `training_bytes`. A test reuses the memory of a training step.
    """
    teacher = specs[0].teacher
    features, needed = 0.0, CONTEXT + _kept_bytes(specs, outline)
    if teacher is not None:
        features = OF_A_TEACHER_S_VALUE * sum(_values(teacher, outline))
        of_one = 4 * catalogue.parameters(teacher.network.name, *outline.of_network)
        needed += of_one * teacher.n_networks
    most = 0.0
    for run in specs:
        step = OF_A_VALUE_ON_A_GPU * sum(_values(run, outline)) + features
        test = OF_THE_LARGEST * max(_values(run, outline)) * min(TEST_BATCH, outline.n_test)
        most = max(most, step * _images(run, outline), test)
    return needed + round(4 * most)


def _kept_bytes(specs: Sequence[RunSpec], outline: Outline) -> int:
    """Return the bytes that stay during the training of a pass, and those of cropping a batch."""
    spec = specs[0]
    n, logits = outline.n_train + outline.n_test, outline.n_test
    needed = 3 * outline.n_train * outline.stored_pixels + 8 * n
    needed += 3 * outline.n_test * outline.height * outline.width
    if outline.stored_size is not None:  # training images as they are tested
        needed += 3 * outline.n_train * outline.height * outline.width
    if spec.data.true_labels is not None:
        logits += outline.n_train
        needed += 2 * n * outline.n_classes * 8
    needed += 2 * logits * outline.n_classes * 4
    for run in specs:
        # an early-stopped teacher also has the weights of its best epoch
        of_a_weight = (OF_A_WEIGHT + run.is_early_stopped) * run.n_networks
        needed += of_a_weight * 4 * catalogue.parameters(run.network.name, *outline.of_network)
        if KEEPS_PREDICTIONS in run.terms:
            needed += outline.n_train * outline.n_classes * 4 * run.n_networks
    return needed + _of_crops(spec, outline)


def _of_crops(spec: RunSpec, outline: Outline) -> int:
    """Return the bytes that cropping a batch of images at random takes.

    They are the border that is added to the images; or the pixels that are averaged, with their
    positions in int64, where boxes are resized.
    """
    augment = spec.stream.augment
    images = min(spec.recipe.batch, outline.n_train)
    if augment.resized_crop is not None:
        stored = outline.stored_size or outline.height
        of_a_pixel = math.ceil(2 * stored / outline.width)
        return images * stored * outline.width * of_a_pixel * (8 + 3)
    border = 2 * augment.crop_padding
    padded = (outline.height + border) * (outline.width + border)
    return images * (padded - outline.height * outline.width) * 3


def _of_network(spec: RunSpec, outline: Outline) -> int:
    """Return the bytes of the values in a network during a training step and during a test."""
    values, images = _values(spec, outline), _images(spec, outline)
    tested = min(TEST_BATCH, outline.n_test)
    return round(4 * (OF_A_VALUE * sum(values) * images + OF_THE_LARGEST * max(values) * tested))


def _values(spec: RunSpec, outline: Outline) -> tuple[int, ...]:
    return catalogue.values(spec.network.name, *outline.of_network)


def _images(spec: RunSpec, outline: Outline) -> int:
    """Return the number of images in a training step, with all their views."""
    return min(spec.recipe.batch, outline.n_train) * spec.stream.turns * spec.stream.views


def data_bytes(spec: DataSpec, outline: Outline) -> int:
    """Return the bytes of prepared arrays: uint8 pixels, int64 labels, float64 distributions.

    Training images that are stored in a larger size are also stored in that of networks.
    """
    image = outline.height * outline.width * 3 + 8
    if spec.true_labels is not None:
        image += outline.n_classes * 8
    larger = 0 if outline.stored_size is None else outline.n_train * outline.stored_pixels * 3
    return (outline.n_train + outline.n_test) * image + larger
