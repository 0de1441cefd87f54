"""Correctness ranking loss (CRL): Moon et al., "Confidence-Aware Learning for Deep Neural
Networks", ICML 2020; the paper's Appendix F, Eq. (31), and Table 7.

Read as in the method's released code (daintlab/confidence-aware-learning), which the authors' code
has, too. It differs from Eq. (31) in two things: pairs of equal correctness cost nothing, where the
equation would have g = -1 (A23); and the least correctness of all images counts as 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.registry import register
from soteacher.regularizers.base import Regularizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.data.stream import Batch
    from soteacher.models.output import Output
    from soteacher.penalties import CorrectnessRankingPenalty
    from soteacher.terms import Site


def ranking_loss(confidence: Tensor, correctness: Tensor) -> Tensor:
    """Confidences that are not in the order of correctness, or not as far apart: Eq. (31).

    mean over i of max(0, -sign(c_i - c_j) (p_i - p_j) + |c_i - c_j|), j = i + 1 and the first after
    the last: B pairs. Pairs with c_i = c_j cost nothing.

    confidence : Tensor, (B,), p in [0, 1], gradients to both of a pair.
    correctness : Tensor, (B,), c in [0, 1], constant.   Returns Tensor, ().
    """
    apart = correctness - correctness.roll(-1)
    ordered = apart.sign() * (confidence - confidence.roll(-1))
    return (apart.abs() - ordered).clamp(min=0).mean()


@register
class CRL(Regularizer):
    """`weight` * `ranking_loss` of the largest softmax probability, pairs as batches come.

    Correctness is how often an image was predicted right in training so far, in train mode and as
    augmented, from 0 for the image that was least often to 1 for one that was in every epoch. The
    first epoch has no history and no term.
    """

    label: ClassVar[str] = "CRL"
    table7: ClassVar[bool] = True
    remembers_images: ClassVar[bool] = True

    weight: float = Field(1.0, ge=0)
    """lambda (the paper: 1)."""

    _penalty: CorrectnessRankingPenalty = PrivateAttr()

    def start(self, site: Site) -> None:
        """Make the history: how often each image was predicted right, (N,)."""
        from soteacher.penalties import CorrectnessRankingPenalty

        self._penalty = CorrectnessRankingPenalty(site.n_images, self.weight).to(site.device)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted term (none in the first epoch), then take the step's predictions."""
        logits = output.logits[: len(batch.labels)]
        loss = self._penalty(logits, batch.labels, batch.indices, batch.at.epoch)
        return {"crl": loss} if batch.at.epoch else {}

    def buffers(self) -> dict[str, Tensor]:
        """The history, (N,)."""
        return dict(self._penalty.named_buffers())
