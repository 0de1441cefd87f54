"""Similarity-preserving distillation (SP): Tung and Mori, Similarity-Preserving Knowledge
Distillation, 2019.

Images that are similar for the teacher are trained to be similar for the student. With Q the maps
of a batch as rows, (B, C * H * W), and G = Q Q^T with each row scaled to length 1:

    sum over all B x B entries of (G_s - G_t)^2, over B^2

SoTeacher (RepDistiller) uses only the maps of the last stage.
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
class SP(FeatureDistiller):
    """Mean squared error between the similarities of a batch's images."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 35
    display_name: ClassVar[str] = "SP"
    needs: ClassVar[tuple[str, ...]] = ("stage1",)

    weight: Weight = Table5(standard=3000.0, soteacher=1500.0)
    """Weight of the mean squared error (beta of Table 5)."""

    _stage: str = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Store the last stage that both networks have."""
        self._stage = stages(context)[-1]

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the mean squared difference of similarities."""
        student_rows, teacher_rows = (
            similarities(student[self._stage]),
            similarities(teacher[self._stage]),
        )
        return torch.nn.functional.mse_loss(student_rows, teacher_rows)


def similarities(features: Tensor) -> Tensor:
    """Return the inner products of the maps (B, C, H, W): (B, B), each row of length 1."""
    rows = features.flatten(1)
    return directions(rows @ rows.T)
