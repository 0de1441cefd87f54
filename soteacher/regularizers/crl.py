"""Correctness ranking loss (CRL): Moon et al., "Confidence-Aware Learning for Deep Neural
Networks", ICML 2020; the paper's Appendix F, Eq. (31), and Table 7.

This follows the method's released code (daintlab/confidence-aware-learning), which the paper's
authors also use. It differs from Eq. (31) in two points: the loss of pairs of equal correctness is
0, where the equation has g = -1 (A23); and the least correctness of all images counts as 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.core.registry import register
from soteacher.regularizers.base import Regularizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output
    from soteacher.penalties.crl import CorrectnessRankingPenalty
    from soteacher.terms import RunContext


@register
class CRL(Regularizer):
    """`weight` * `ranking_loss` of the largest softmax probability, for consecutive images.

    Correctness is the share of earlier epochs in which an image was predicted correctly (augmented
    and in train mode), scaled so that it is 0 for the image with the fewest correct predictions and
    1 for an image that was correct in every epoch. The first epoch has no history and no term.
    """

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 51
    display_name: ClassVar[str] = "CRL"
    table7: ClassVar[bool] = True
    remembers_images: ClassVar[bool] = True

    weight: float = Field(1.0, ge=0)
    """Weight of the ranking loss, lambda (the paper: 1)."""

    _penalty: CorrectnessRankingPenalty = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Create the history: the number of correct predictions of each image, (N,)."""
        from soteacher.penalties.crl import CorrectnessRankingPenalty

        self._penalty = CorrectnessRankingPenalty(context.n_images, self.weight).to(context.device)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted loss (none in the first epoch), and update the history."""
        logits = output.logits[: len(batch.labels)]
        loss = self._penalty.unchecked(logits, batch.labels, batch.indices, batch.cursor.epoch)
        return {"crl": loss} if batch.cursor.epoch else {}

    def buffers(self) -> dict[str, Tensor]:
        """Return the history, (N,)."""
        return dict(self._penalty.named_buffers())
