"""Squared error in place of cross-entropy (MSE): SoTeacher, Section 4, has "NLL or MSE" as the loss
of teachers. Its experiments have NLL, so a teacher with MSE is an addition.

    mean over B of sum over K of (p - target)^2,   p = softmax(logits)

The target is the one-hot label, or the batch's soft target. Hamidi et al., How to Train the Teacher
Model for Effective Knowledge Distillation, ECCV 2024, train teachers with it and change nothing
else in the recipe. Their code takes the mean over B and K, so its gradient is K times smaller; the
sum over K, the Brier score of each image, does not depend on the number of classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from soteacher.core.registry import register
from soteacher.regularizers.base import Regularizer
from soteacher.terms import soft_targets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output


@register
class MSE(Regularizer):
    """The squared distance between predictions and targets, instead of cross-entropy."""

    operations: ClassVar[int] = 10
    replaces_cross_entropy: ClassVar[bool] = True
    display_name: ClassVar[str] = "MSE (added)"

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the squared distance of the first view of each image."""
        logits = output.logits[: len(batch.labels)]
        return {"mse": squared_error(logits, soft_targets(batch, logits.shape[1]))}


def squared_error(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean over B of the sum over K of (softmax(logits) - targets)^2: (), in [0, 2].

    logits, targets : Tensor, (B, K); rows of targets sum to 1.
    """
    return (logits.softmax(dim=1) - targets).square().sum(dim=1).mean()
