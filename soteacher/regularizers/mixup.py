"""Mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; Table 7.

`torchvision.transforms.v2.MixUp` differs in the partners: it blends each image with its neighbour
in the batch. Here, as in the authors' code, a random permutation gives the partner, which may be
the same image. Both draw one share per batch.
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
    """Return share * values + (1 - share) * values[partners].

    values : float, (B, ...).   partners : int64, (B,).   Returns Tensor like `values`.
    """
    return share * values + (1 - share) * values[partners]


def drawn_partners(batch: Batch, numbers: np.random.Generator) -> Tensor:
    """Return a random permutation of the batch: int64, (B,), on its device."""
    order = torch.from_numpy(numbers.permutation(len(batch.labels)))
    return order.to(batch.labels.device, non_blocking=True)


@register
class Mixup(ImageChange):
    """Two images and their labels are blended; the share is drawn from Beta(a, a) per batch.

    Cross-entropy with the blended target equals the blended cross-entropies of both labels, which
    is the authors' loss.
    """

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 18
    display_name: ClassVar[str] = "Mixup"
    table7: ClassVar[bool] = True
    blends: ClassVar[bool] = True

    alpha: float = Field(0.2, gt=0)
    """Parameter a of Beta(a, a), from which the share is drawn (the paper: 0.2, which it calls the
    share, A22)."""

    def mix(self, batch: Batch, n_classes: int, random: Random) -> Batch:
        """Return the batch with blended images and targets."""
        share = float(random("mixup share").beta(self.alpha, self.alpha))
        partners = drawn_partners(batch, random("mixup partners"))
        return replace(
            batch,
            images=blended(batch.images, partners, share),
            targets=blended(soft_targets(batch, n_classes), partners, share),
        )
