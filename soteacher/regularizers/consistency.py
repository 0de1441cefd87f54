"""Consistency regularization (CR) of the teacher: SoTeacher, Section 4, Appendices C and D.1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PrivateAttr

from soteacher.lazy import torch
from soteacher.registry import register
from soteacher.regularizers.base import Regularizer
from soteacher.terms import Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.data.stream import Batch
    from soteacher.models.output import Output

RAMPS = {
    "linear": lambda x: x,
    "cosine": lambda x: math.cos((1 - x) * math.pi / 2),
    "cyclic": lambda x: math.sqrt(1 - (1 - x) ** 2),
    "piecewise": lambda x: 0.0 if x <= 1 / 3 else 0.5 if x <= 2 / 3 else 1.0,
}
"""Appendix D.1: the weight's share of its maximum, as a function of x = t/T in (0, 1]."""


def consistency_loss(probabilities: Tensor, mean: Tensor) -> Tensor:
    """Squared distance between present and mean earlier predictions: l_CR of Appendix C.

    probabilities : Tensor, (B, K), gradients flow.   mean : Tensor, (B, K), constant.
    Returns Tensor, (): mean over B of the sum over K.
    """
    return (probabilities - mean).square().sum(dim=1).mean()


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
    ramp: Literal["linear", "cosine", "cyclic", "piecewise"] = "linear"
    """How the weight rises over the epochs (Appendix D.1)."""
    mode: Literal["official", "paper"] = "official"
    """`official`, the authors' code: the first prediction counts twice in the mean, and the
    1-based epoch e >= 2 has weight ramp(e/T). `paper`, the text: plain mean, ramp((e-1)/T)."""

    _mean: Tensor = PrivateAttr()
    _epochs: int = PrivateAttr()

    def start(self, site: Site) -> None:
        """Make the memory of mean predictions, (N, K) zeros."""
        self._mean = torch.zeros(site.n_images, site.n_classes, device=site.device)
        self._epochs = site.epochs

    def ramped(self, epoch: int) -> float:
        """The weight in a 0-based epoch."""
        if epoch == 0:
            return 0.0
        shift = 1 if self.mode == "official" else 0
        return self.weight * RAMPS[self.ramp]((epoch + shift) / self._epochs)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted term (none in the first epoch), then take the step's predictions."""
        epoch = batch.at.epoch
        probabilities = output.logits.softmax(dim=1)
        mean = self._mean[batch.indices]
        # official: 1, 1/3, 1/4, ... so that the mean is (2 p_1 + p_2 + ... + p_e) / (e + 1)
        share = 1 / (epoch + 2 if epoch > 0 and self.mode == "official" else epoch + 1)
        self._mean[batch.indices] = torch.lerp(mean, probabilities.detach(), share)
        if epoch == 0:
            return {}
        return {"consistency": self.ramped(epoch) * consistency_loss(probabilities, mean)}

    def buffers(self) -> dict[str, Tensor]:
        """The mean predictions, (N, K)."""
        return {"mean": self._mean}
