"""Relational knowledge distillation (RKD): Park et al., Relational Knowledge Distillation, 2019.

Relations between the images of a batch, by their pooled features, are to be the teacher's:

    25 * h(d_s, d_t) + 50 * h(a_s, a_t),   h = the mean of smooth l1 differences

d are the distances between all pairs, over their mean (of those that are not 0), and a the cosines
of all angles, (B, B, B): of f_i - f_j and f_k - f_j, seen from each image j.
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
"""Squared distances below it count as this, so that the root has a gradient."""


@register
class RKD(FeatureDistiller):
    """Smooth l1 differences of distances and of angles between a batch's pooled features."""

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "RKD"

    weight: Weight = Table5(standard=1.0, soteacher=0.5)
    """Of the two together (beta of Table 5)."""
    distance_weight: float = Field(25.0, ge=0)
    """Of the distances."""
    angle_weight: float = Field(50.0, ge=0)
    """Of the angles."""

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the weighted sum of both means."""
        ours, theirs = student["pooled"], teacher["pooled"]
        differ = torch.nn.functional.smooth_l1_loss
        distance = differ(distances(ours), distances(theirs))
        angle = differ(angles(ours), angles(theirs))
        return self.distance_weight * distance + self.angle_weight * angle


def distances(features: Tensor) -> Tensor:
    """Distances between all rows of (B, C), over their mean: (B, B); the diagonal is 0."""
    squares = (features[:, None] - features).square().sum(dim=2)  # (B, B)
    apart = squares > TINY
    found = torch.where(apart, squares.clamp(min=TINY).sqrt(), 0.0)
    return found / (found.sum() / apart.sum().clamp(min=1)).clamp(min=TINY)


def angles(features: Tensor) -> Tensor:
    """Cosines of the angles between all rows of (B, C), seen from each: (B, B, B)."""
    rays = features - features[:, None]  # (B, B, C): [j, i] from image j to image i
    rays = directions(rays)
    return rays @ rays.transpose(1, 2)
