"""Consistency regularization (CR) of the teacher: SoTeacher, Section 4, Appendices C and D.1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PrivateAttr

from soteacher.registry import register
from soteacher.regularizers.base import Regularizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.data.stream import Batch
    from soteacher.models.output import Output
    from soteacher.penalties import ConsistencyPenalty
    from soteacher.terms import Site

RAMPS = {
    "linear": lambda x: x,
    "cosine": lambda x: math.cos((1 - x) * math.pi / 2),
    "cyclic": lambda x: math.sqrt(1 - (1 - x) ** 2),
    "piecewise": lambda x: 0.0 if x <= 1 / 3 else 0.5 if x <= 2 / 3 else 1.0,
}
"""Appendix D.1: the weight's share of its maximum, as a function of x = t/T in (0, 1]."""


Ramp = Literal["linear", "cosine", "cyclic", "piecewise"]
Mode = Literal["official", "paper"]


def ramped(epoch: int, epochs: int, ramp: Ramp = "linear", mode: Mode = "official") -> float:
    """The weight's share of its maximum in a 0-based epoch of so many; 0 in the first."""
    if epoch == 0:
        return 0.0
    return RAMPS[ramp]((epoch + (mode == "official")) / epochs)


def consistency_loss(probabilities: Tensor, mean: Tensor, known: Tensor) -> Tensor:
    """Squared distance between present and mean earlier predictions: l_CR of Appendix C.

    probabilities : Tensor, (B, K), gradients flow.   mean : Tensor, (B, K), constant.
    known : bool, (B,): which images have earlier predictions; the others cost nothing.
    Returns Tensor, (): mean over B of the sum over K.
    """
    return ((probabilities - mean).square().sum(dim=1) * known).mean()


@register
class Consistency(Regularizer):
    """`weight` * ramp * `consistency_loss` against each image's mean prediction so far.

    Predictions are softmax probabilities at temperature 1 of the augmented training view, in
    train mode: those of the step itself, no second forward pass. The first epoch has no earlier
    prediction and no term. The mean is kept as (N, K) float32 on the device and updated after the
    loss is taken.
    """

    weight: float = Field(1.0, ge=0)
    """lambda_CR^max, the weight at the end of the ramp (the paper: 1)."""
    ramp: Ramp = "linear"
    """How the weight rises over the epochs (Appendix D.1)."""
    mode: Mode = "official"
    """`official`, the authors' code: the first prediction counts twice in the mean, and the
    1-based epoch e >= 2 has weight ramp(e/T). `paper`, the text: plain mean, ramp((e-1)/T)."""

    remembers_images: ClassVar[bool] = True

    _penalty: ConsistencyPenalty = PrivateAttr()

    def start(self, site: Site) -> None:
        """Make the memory of mean predictions, (N, K), and of how many each is of, (N,)."""
        from soteacher.penalties import ConsistencyPenalty

        self._penalty = ConsistencyPenalty(
            site.n_images, site.n_classes, site.epochs, self.weight, self.ramp, self.mode
        ).to(site.device)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted term (none in the first epoch), then take the step's predictions."""
        logits = output.logits[: len(batch.labels)]
        loss = self._penalty(logits, batch.indices, batch.at.epoch)
        return {"consistency": loss} if batch.at.epoch else {}

    def buffers(self) -> dict[str, Tensor]:
        """The mean predictions, (N, K), and how many each is of, (N,)."""
        return dict(self._penalty.named_buffers())
