"""CutMix: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers", ICCV 2019.

`torchvision.transforms.v2.CutMix` differs: an image's partner is its neighbour in the batch, and
every batch is changed. Here, as in the authors' code, a random permutation gives the partner.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.registry import register
from soteacher.regularizers.base import ImageChange
from soteacher.regularizers.mixup import blended, drawn_partners
from soteacher.terms import soft_targets

if TYPE_CHECKING:
    from soteacher.core.batch import Batch
    from soteacher.core.random import Random


def box(height: int, width: int, share: float, row: int, column: int) -> tuple[slice, slice]:
    """Return the rows and columns that are cut: sqrt(1 - share) of the image's sides, clipped.

    share : share of the image that is kept, before clipping.   row, column : centre of the box.
    """
    ratio = math.sqrt(1 - share)
    half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
    return (
        slice(max(row - half_height, 0), min(row + half_height, height)),
        slice(max(column - half_width, 0), min(column + half_width, width)),
    )


@register
class CutMix(ImageChange):
    """One box per batch is cut out of every image and filled with its partner's pixels.

    Targets are blended in the exact shares of pixels.
    """

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 0
    display_name: ClassVar[str] = "CutMix"
    table7: ClassVar[bool] = True
    blends: ClassVar[bool] = True

    alpha: float = Field(0.2, gt=0)
    """Parameter a of Beta(a, a), from which the share of the image that is kept is drawn (the
    paper: 0.2)."""
    probability: float = Field(0.5, ge=0, le=1)
    """Probability that a batch is changed. The paper gives no value; CutMix's authors use 0.5 for
    CIFAR (A21)."""

    def mix(self, batch: Batch, n_classes: int, random: Random) -> Batch:
        """Cut and fill the images and blend the targets, or return the batch unchanged."""
        numbers = random("cutmix box")
        cut = numbers.random() < self.probability
        share = float(numbers.beta(self.alpha, self.alpha))
        height, width = batch.images.shape[2:]
        row, column = int(numbers.integers(height)), int(numbers.integers(width))
        if not cut:
            return batch
        rows, columns = box(height, width, share, row, column)
        partners = drawn_partners(batch, random("cutmix partners"))
        images = batch.images.clone()
        images[:, :, rows, columns] = batch.images[partners, :, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        targets = blended(soft_targets(batch, n_classes), partners, 1 - area / (height * width))
        return replace(batch, images=images, targets=targets)
