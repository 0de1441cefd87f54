"""Label smoothing: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, Section 7.

The paper does not report its result (Appendix F): a row of Table 7 with it is an addition.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.core.registry import register
from soteacher.regularizers.base import Regularizer
from soteacher.terms import soft_targets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output
    from soteacher.terms import RunContext


def smoothed(targets: Tensor, epsilon: float) -> Tensor:
    """(1 - epsilon) * targets + epsilon / K.

    targets : Tensor, (B, K), rows sum to 1.   Returns Tensor, (B, K), rows sum to 1.
    """
    return (1 - epsilon) * targets + epsilon / targets.shape[1]


@register
class LabelSmoothing(Regularizer):
    """Targets are moved towards the uniform distribution; images are not changed."""

    display_name: ClassVar[str] = "Label smoothing (added)"
    operations: ClassVar[int] = 11

    epsilon: float = Field(0.1, ge=0, le=1)
    """Share of the uniform distribution in the target."""

    _n_classes: int = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Store the number of classes."""
        self._n_classes = context.n_classes

    def retarget(self, batch: Batch) -> Batch:
        """Smooth the targets, or the labels if there are no targets."""
        targets = soft_targets(batch, self._n_classes)
        return replace(batch, targets=smoothed(targets, self.epsilon))

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return no loss: the cross-entropy uses the smoothed targets."""
        return {}
