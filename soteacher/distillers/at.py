"""Attention transfer (AT): Zagoruyko and Komodakis, Paying More Attention to Attention, 2017.

The attention of a map shows where its channels are large: A = n(mean over channels of F^2), a
vector over pixels that n scales to length 1. The student's attention is trained to equal the
teacher's in each stage:

    sum over stages of mean over images and pixels of (A_s - A_t)^2

The larger of two maps is averaged down to the size of the smaller. Eq. 2 of Zagoruyko and
Komodakis uses the norm of the difference; their code and SoTeacher (RepDistiller) use this mean,
which explains the large weight.
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
    operations: ClassVar[int] = 108
    display_name: ClassVar[str] = "AT"
    needs: ClassVar[tuple[str, ...]] = ("stage1",)

    weight: Weight = Table5(standard=1000.0, soteacher=500.0)
    """Weight of the mean squared error (beta of Table 5)."""

    _stages: tuple[str, ...] = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Store the stages that both networks have."""
        self._stages = stages(context)

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the sum over stages of the mean squared difference of attention."""
        from soteacher.models.adapters import same_size

        losses = []
        for stage in self._stages:
            student_map, teacher_map = same_size(student[stage], teacher[stage])
            losses.append(
                torch.nn.functional.mse_loss(attention(student_map), attention(teacher_map))
            )
        return torch.stack(losses).sum()


def attention(features: Tensor) -> Tensor:
    """Return the attention of maps (B, C, H, W): (B, H * W), rows of length 1, or 0 for zeros."""
    return directions(features.square().mean(dim=1).flatten(1))
