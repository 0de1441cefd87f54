"""The consistency penalty (CR): SoTeacher, Section 4, Appendices C and D.1."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from soteacher.core.errors import UserError, one_of
from soteacher.penalties.checks import at_least_float32, check_rows, checked_count, checked_weight
from soteacher.penalties.choices import Mode, Ramp

RAMPS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "cosine": lambda x: math.cos((1 - x) * math.pi / 2),
    "cyclic": lambda x: math.sqrt(1 - (1 - x) ** 2),
    "piecewise": lambda x: 0.0 if x <= 1 / 3 else 0.5 if x <= 2 / 3 else 1.0,
}
"""Appendix D.1: the weight's share of its maximum, as a function of x = t/T in (0, 1]."""


def ramped(epoch: int, epochs: int, ramp: Ramp = "linear", mode: Mode = "official") -> float:
    """Return the weight's share of its maximum in a 0-based epoch of `epochs`; 0 in the first."""
    if epoch == 0:
        return 0.0
    return RAMPS[ramp]((epoch + (mode == "official")) / epochs)


def consistency_loss(probabilities: Tensor, mean: Tensor, known: Tensor) -> Tensor:
    """Squared distance between present and mean earlier predictions: l_CR of Appendix C.

    probabilities : Tensor, (B, K), gradients flow.   mean : Tensor, (B, K), constant.
    known : bool, (B,): which images have earlier predictions; the loss of the others is 0.
    Returns Tensor, (): mean over B of the sum over K.
    """
    return ((probabilities - mean).square().sum(dim=1) * known).mean()


class ConsistencyPenalty(nn.Module):
    """Squared distance of predictions to the image's mean earlier prediction: l_CR of Section 4.

    n_images, n_classes : sizes of the training set; the memory is (n_images, n_classes) float32.
    epochs : number of training epochs, for the ramp.
    weight : weight at the end of the ramp.   ramp, mode : see `choices`.

    The loss of an image without an earlier prediction is 0: all images in the first epoch, and some
    in later epochs if a loader drops its last batch. One process must see all images of an epoch;
    with several processes, each would have the predictions of its part only.
    """

    mean: Tensor
    seen: Tensor

    def __init__(
        self,
        n_images: int,
        n_classes: int,
        epochs: int,
        weight: float = 1.0,
        ramp: Ramp = "linear",
        mode: Mode = "official",
    ) -> None:
        super().__init__()
        self.epochs, self.weight = checked_count("epochs", epochs), checked_weight(weight)
        self.ramp, self.mode = one_of("ramp", ramp, Ramp), one_of("mode", mode, Mode)
        size = checked_count("images", n_images), checked_count("classes", n_classes)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("seen", torch.zeros(n_images, dtype=torch.int32))

    def forward(self, logits: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the weighted loss, (), and add these predictions to the means.

        logits : (B, K), of this step.   indices : int64, (B,), different rows of the training set.
        epoch : 0-based.
        """
        check_rows(logits, indices, self.mean)
        if not 0 <= epoch < self.epochs:
            raise UserError(
                f"epoch {epoch} of {self.epochs}: expected 0 to {self.epochs - 1}, because epochs "
                "count from 0; create the penalty with the total number of epochs"
            )
        probabilities = at_least_float32(logits).softmax(dim=1)
        mean, seen = self.mean[indices], self.seen[indices]
        twice = (seen > 0).int() if self.mode == "official" else 0  # the first counts twice
        share = (1 / (seen + 1 + twice)).to(mean.dtype)
        if self.training:
            latest = probabilities.detach().to(mean.dtype)
            self.mean[indices] = torch.lerp(mean, latest, share[:, None])
            self.seen[indices] = seen + 1
        weight = self.weight * ramped(epoch, self.epochs, self.ramp, self.mode)
        return weight * consistency_loss(probabilities, mean, seen > 0)
