"""The number of ATen operations of a training step, which a GPU's host must launch one by one.

Views are not counted, and neither is the optimizer's single fused operation. The numbers describe
the code of this package: `tests/oracle/test_step_counts.py` counts the operations of every method
again, on torch's meta device, and says which number to change. Those of a method are in its own
file: `soteacher.terms.LossTerm.operations`.
"""

from __future__ import annotations

import math

from soteacher.data.sources.base import Outline
from soteacher.models import catalogue
from soteacher.study.specs import RunSpec

FORWARD, EVALUATION, BACKWARD = 4.5, 3.5, 3.4
"""Operations per batch norm of a network: in a forward pass of training (a convolution, a batch
norm and its counter of batches, an activation, and half an addition), of evaluation (without the
counter), and in a backward pass."""
STEP = 17
"""Operations of a step besides the network: cross-entropy, its gradient, and the records."""
KD = 24
"""Operations of the divergence from the teacher's predictions, and its gradient."""
BATCH, ROTATION, TURN, RESIZED_CROP, PIXEL = 18, 22, 14, 24, 4
"""Operations that make a batch, that rotate its images by any angle, of each turned view, those
that a resized crop of a view takes beyond one with padding, and those of each pixel beyond two that
a row and a column of a smaller image are means of."""
FIRST_STAGE = 40
"""Operations of a step of a first stage that trains modules on the teacher's outputs alone."""


def own_operations(spec: RunSpec, outline: Outline) -> float:
    """Return the operations of one training step of a run, without its batch and its teacher."""
    norms = catalogue.norms(spec.network.name, *outline.of_network)
    of_terms = sum(part.operations for part in spec.parts())
    return (FORWARD + BACKWARD) * norms + STEP + of_terms + (KD if spec.teacher else 0)


def batch_operations(spec: RunSpec, outline: Outline) -> float:
    """Return the operations that make the batch of a step."""
    stream = spec.stream
    turns = TURN * (stream.turns - 1)
    crops = 0
    if stream.augment.resized_crop is not None:
        stored_size = outline.stored_size or outline.height
        pixels = math.ceil(2 * stored_size / outline.height)
        crops = (RESIZED_CROP + PIXEL * (pixels - 2)) * stream.turns
    return BATCH + turns + crops + (ROTATION if stream.augment.rotation else 0)


def evaluation_operations(spec: RunSpec, outline: Outline) -> float:
    """Return the operations of a run's network on a batch without gradients."""
    return EVALUATION * catalogue.norms(spec.network.name, *outline.of_network)
