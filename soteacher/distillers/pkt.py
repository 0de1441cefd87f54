"""Probabilistic knowledge transfer (PKT): Passalis and Tefas, Learning Deep Representations with
Probabilistic Knowledge Transfer, 2018.

How likely each image of a batch is to be another's neighbour is to be as it is for the teacher.
With p the cosines of pooled features, moved to [0, 1], each row over its sum, (B, B):

    mean over all B x B entries of p_t * log((p_t + 1e-7) / (p_s + 1e-7))

As in the authors' code. The mean over B^2 entries, where a divergence has a sum over rows, is why
the weight is so large.
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
    display_name: ClassVar[str] = "PKT"

    weight: Weight = Table5(standard=30000.0, soteacher=15000.0)
    """Of the divergence (beta of Table 5)."""

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the mean over all pairs of images."""
        ours, theirs = neighbours(student["pooled"]), neighbours(teacher["pooled"])
        return (theirs * ((theirs + EPSILON) / (ours + EPSILON)).log()).mean()


def neighbours(features: Tensor) -> Tensor:
    """For each row of (B, C), the probabilities of all rows to be its neighbour: (B, B)."""
    rows = directions(features)
    likeness = (rows @ rows.T + 1) / 2
    return likeness / likeness.sum(dim=1, keepdim=True)
