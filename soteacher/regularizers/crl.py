"""Correctness ranking loss (CRL): Moon et al., "Confidence-Aware Learning for Deep Neural
Networks", ICML 2020; the paper's Appendix F, Eq. (31), and Table 7.

Read as in the method's released code (daintlab/confidence-aware-learning), which the authors' code
has, too. It differs from Eq. (31) in two things: pairs of equal correctness cost nothing, where the
equation would have g = -1 (A23); and the least correctness of all images counts as 0.
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
    """`weight` * `ranking_loss` of the largest softmax probability, pairs as batches come.

    Correctness is how often an image was predicted right in training so far, in train mode and as
    augmented, from 0 for the image that was least often to 1 for one that was in every epoch. The
    first epoch has no history and no term.
    """

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "CRL"
    table7: ClassVar[bool] = True
    remembers_images: ClassVar[bool] = True

    weight: float = Field(1.0, ge=0)
    """lambda (the paper: 1)."""

    _penalty: CorrectnessRankingPenalty = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Make the history: how often each image was predicted right, (N,)."""
        from soteacher.penalties.crl import CorrectnessRankingPenalty

        self._penalty = CorrectnessRankingPenalty(context.n_images, self.weight).to(context.device)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted term (none in the first epoch), then take the step's predictions."""
        logits = output.logits[: len(batch.labels)]
        loss = self._penalty(logits, batch.labels, batch.indices, batch.cursor.epoch)
        return {"crl": loss} if batch.cursor.epoch else {}

    def buffers(self) -> dict[str, Tensor]:
        """The history, (N,)."""
        return dict(self._penalty.named_buffers())
