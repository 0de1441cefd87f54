"""Relational knowledge distillation (RKD): Park et al., Relational Knowledge Distillation, 2019.

Relations between the pooled features of a batch are trained to equal the teacher's:

    25 * h(d_s, d_t) + 50 * h(a_s, a_t),   h = the mean of smooth l1 differences

d are the distances between all pairs, divided by the mean of those that are not 0, and a are the
cosines of all angles, (B, B, B): between f_i - f_j and f_k - f_j, for each image j.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight, directions

if TYPE_CHECKING:
    from torch import Tensor

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features

TINY = 1e-12
"""The least squared distance: smaller ones are set to it, so that the root has a gradient."""


@register
class RKD(FeatureDistiller):
    """Smooth l1 differences of distances and of angles between a batch's pooled features."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 102
    display_name: ClassVar[str] = "RKD"

    weight: Weight = Table5(standard=1.0, soteacher=0.5)
    """Weight of the whole RKD loss, distances and angles (beta of Table 5)."""
    distance_weight: float = Field(25.0, ge=0)
    """Weight of the distances within the RKD loss."""
    angle_weight: float = Field(50.0, ge=0)
    """Weight of the angles within the RKD loss."""

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the weighted sum of both means."""
        student_rows, teacher_rows = student["pooled"], teacher["pooled"]
        differ = torch.nn.functional.smooth_l1_loss
        distance = differ(distances(student_rows), distances(teacher_rows))
        angle = differ(angles(student_rows), angles(teacher_rows))
        return self.distance_weight * distance + self.angle_weight * angle


def distances(features: Tensor) -> Tensor:
    """Return the distances between all rows of (B, C), divided by their mean: (B, B)."""
    squares = (features[:, None] - features).square().sum(dim=2)  # (B, B)
    apart = squares > TINY
    lengths = torch.where(apart, squares.clamp(min=TINY).sqrt(), 0.0)
    return lengths / (lengths.sum() / apart.sum().clamp(min=1)).clamp(min=TINY)


def angles(features: Tensor) -> Tensor:
    """Return the cosines of the angles between all rows of (B, C) at each row: (B, B, B)."""
    rays = features - features[:, None]  # (B, B, C): [j, i] from image j to image i
    rays = directions(rays)
    return rays @ rays.transpose(1, 2)
