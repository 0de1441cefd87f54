"""Logit standardization: Sun et al., Logit Standardization in Knowledge Distillation, CVPR 2024.

Knowledge distillation with the logits of each image standardized, for student and teacher, so that
the student need not match the size of the teacher's logits:

    0.1 * cross-entropy + 9 * T^2 KL(p_T || p_S),   p = softmax(z' / T),   T = 2
    z' = (z - mean over K of z) / (sample standard deviation over K of z)

Weights and temperature are those of the authors' code for CIFAR-100. It adds 1e-7 to the standard
deviation; here logits that are all equal stay 0 and get no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.registry import register
from soteacher.distillers.base import Distiller, directions, kd_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output


@register
class LogitStandardization(Distiller):
    """0.1 * cross-entropy + 9 * T^2 KL(teacher || student) of standardized logits at T = 2.

    It cannot learn from an oracle: an oracle's logit of a probability of 0 is minus infinity, which
    `soteacher.study.oracle` has as a large negative number, and the standard deviation depends on
    that number.
    """

    logits_only: ClassVar[bool] = True
    needs_logit_sizes: ClassVar[bool] = True
    operations: ClassVar[int] = 55
    display_name: ClassVar[str] = "Logit standardization"

    ce: float = Field(0.1, ge=0)
    """Weight of the cross-entropy with the labels (the authors: 0.1)."""
    kd: float = Field(0.0, ge=0)
    """Weight of the divergence of the logits as they are: 0, because that of the standardized ones
    replaces it."""
    weight: float = Field(9.0, ge=0)
    """Weight of the divergence of the standardized logits (the authors: 9)."""
    temperature: float = Field(2.0, gt=0)
    """Temperature of the predictions of student and teacher in the divergence (the authors: 2)."""

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted divergence, `standardized_kd`."""
        ours, theirs = standardized(output.logits), standardized(teacher.logits)
        return {"standardized_kd": self.weight * kd_loss(ours, theirs, self.temperature)}


def standardized(logits: Tensor) -> Tensor:
    """Return (B, K) with mean 0 and sample standard deviation 1 in each row, or all 0."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    return (logits.shape[1] - 1) ** 0.5 * directions(centred)
