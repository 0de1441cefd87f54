"""Probabilistic knowledge transfer (PKT): Passalis and Tefas, Learning Deep Representations with
Probabilistic Knowledge Transfer, 2018.

The probabilities that images of a batch are neighbours are trained to equal the teacher's. With p
the cosines of pooled features, moved to [0, 1], each row divided by its sum, (B, B):

    mean over all B x B entries of p_t * log((p_t + 1e-7) / (p_s + 1e-7))

This follows the code of PKT's authors. It has a mean over B^2 entries where a divergence has a sum
over rows, which explains the large weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight, directions

if TYPE_CHECKING:
    from torch import Tensor

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features

EPSILON = 1e-7


@register
class PKT(FeatureDistiller):
    """Divergence between the probabilities of a batch's images to be neighbours."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 62
    display_name: ClassVar[str] = "PKT"

    weight: Weight = Table5(standard=30000.0, soteacher=15000.0)
    """Weight of the divergence (beta of Table 5)."""

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the mean over all pairs of images."""
        student_neighbours, teacher_neighbours = (
            neighbours(student["pooled"]),
            neighbours(teacher["pooled"]),
        )
        return (
            teacher_neighbours
            * ((teacher_neighbours + EPSILON) / (student_neighbours + EPSILON)).log()
        ).mean()


def neighbours(features: Tensor) -> Tensor:
    """Return, for each row of (B, C), the probabilities that the rows are its neighbour: (B, B)."""
    rows = directions(features)
    likeness = (rows @ rows.T + 1) / 2
    return likeness / likeness.sum(dim=1, keepdim=True)
