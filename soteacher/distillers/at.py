"""Attention transfer (AT): Zagoruyko and Komodakis, Paying More Attention to Attention, 2017.

A map's attention is where its channels are large: A = n(mean over channels of F^2), a vector over
pixels that n scales to length 1. The student's is made to equal the teacher's, stage by stage:

    sum over stages of mean over images and pixels of (A_s - A_t)^2

The larger of two maps is averaged down to the smaller one's size. Eq. 2 of Zagoruyko and Komodakis
takes the norm of the difference; its authors' code and SoTeacher (RepDistiller) take this mean,
hence the large weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight, directions, stages

if TYPE_CHECKING:
    from torch import Tensor

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features
    from soteacher.terms import RunContext


@register
class AT(FeatureDistiller):
    """Mean squared error between attention maps of all stages."""

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "AT"

    weight: Weight = Table5(standard=1000.0, soteacher=500.0)
    """Of the squared error (beta of Table 5)."""

    _stages: tuple[str, ...] = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Find the stages that both networks have."""
        self._stages = stages(context)

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the sum over stages of the mean squared difference of attention."""
        from soteacher.models.adapters import same_size

        losses = []
        for stage in self._stages:
            ours, theirs = same_size(student[stage], teacher[stage])
            losses.append(torch.nn.functional.mse_loss(attention(ours), attention(theirs)))
        return torch.stack(losses).sum()


def attention(features: Tensor) -> Tensor:
    """Where a map (B, C, H, W) is large: (B, H * W), each row of length 1, or 0 for a map of 0."""
    return directions(features.square().mean(dim=1).flatten(1))
