"""DIST: Huang et al., Knowledge Distillation from A Stronger Teacher, NeurIPS 2022.

Predictions need only correlate with the teacher's, not equal them. With p = softmax(logits / T),
(B, K), and Pearson's correlation r of two vectors:

    T^2 * (beta * (1 - mean over images of r(row of p_S, row of p_T))
           + gamma * (1 - mean over classes of r(column of p_S, column of p_T)))

The factor T^2 is that of the authors' code for classification; so are beta = gamma = 1. T is 4 on
CIFAR-100 and 1 on ImageNet. The authors add 1e-8 to the product of two standard deviations; here
the correlation with a vector that is constant is 0, without a gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.registry import register
from soteacher.distillers.base import Distiller, check_alike, directions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output


@register
class DIST(Distiller):
    """1 - correlation with the teacher's softened predictions, by image and by class."""

    operations: ClassVar[int] = 96
    logits_only: ClassVar[bool] = True
    display_name: ClassVar[str] = "DIST"

    kd: float = Field(0.0, ge=0)
    """Weight of the divergence of the softened predictions: 0, because the correlations replace
    it."""
    image_weight: float = Field(1.0, ge=0)
    """Weight of the correlation over the classes of each image, beta (the authors: 1)."""
    class_weight: float = Field(1.0, ge=0)
    """Weight of the correlation over the images of each class, gamma (the authors: 1)."""

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the two weighted losses, `dist_images` and `dist_classes`."""
        images, classes = correlation_losses(output.logits, teacher.logits, self.temperature)
        return {
            "dist_images": self.image_weight * images,
            "dist_classes": self.class_weight * classes,
        }


def correlation_losses(
    student: Tensor, teacher: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return T^2 * (1 - mean correlation) of rows and of columns, unweighted: two tensors, ().

    student, teacher : Tensor, (B, K), logits; no gradient to the teacher.   Raises `UserError` if
    their shapes differ.
    """
    check_alike(student, teacher)
    ours, theirs = ((logits / temperature).softmax(dim=1) for logits in (student, teacher.detach()))
    by_image = 1 - correlations(ours, theirs).mean()
    by_class = 1 - correlations(ours.T, theirs.T).mean()
    return temperature**2 * by_image, temperature**2 * by_class


def correlations(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return Pearson's correlation of each row of (N, M) with the other tensor's: (N,)."""
    ours, theirs = (directions(rows - rows.mean(dim=1, keepdim=True)) for rows in (ours, theirs))
    return (ours * theirs).sum(dim=1)
