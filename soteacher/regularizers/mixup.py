"""Mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Table 7.

`torchvision.transforms.v2.MixUp` differs in the partners: there each image is blended with its
neighbour in the batch, here as in the authors' code with that of a random permutation, which may be
the image itself. Both draw one share a batch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.regularizers.base import ImageChange
from soteacher.terms import soft_targets

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from soteacher.core.batch import Batch
    from soteacher.core.random import Random


def blended(values: Tensor, partners: Tensor, share: float) -> Tensor:
    """Share * values + (1 - share) * values[partners].

    values : float, (B, ...).   partners : int64, (B,).   Returns Tensor like `values`.
    """
    return share * values + (1 - share) * values[partners]


def drawn_partners(batch: Batch, numbers: np.random.Generator) -> Tensor:
    """A random permutation of the batch: int64, (B,), on its device."""
    order = torch.from_numpy(numbers.permutation(len(batch.labels)))
    return order.to(batch.labels.device, non_blocking=True)


@register
class Mixup(ImageChange):
    """Blends of two images and of their labels, in shares drawn once a batch from Beta(a, a).

    Cross-entropy with the blended target is the same share of either label's: the authors' loss.
    """

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "Mixup"
    table7: ClassVar[bool] = True
    blends: ClassVar[bool] = True

    alpha: float = Field(0.2, gt=0)
    """a of Beta(a, a) (the paper: 0.2, though it writes it as the share itself, A22)."""

    def mix(self, batch: Batch, n_classes: int, random: Random) -> Batch:
        """Blend images and targets."""
        share = float(random("mixup share").beta(self.alpha, self.alpha))
        partners = drawn_partners(batch, random("mixup partners"))
        return replace(
            batch,
            images=blended(batch.images, partners, share),
            targets=blended(soft_targets(batch, n_classes), partners, share),
        )
