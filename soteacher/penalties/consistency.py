"""The consistency penalty (CR): SoTeacher, Section 4, Appendices C and D.1."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from soteacher.core.errors import one_of
from soteacher.penalties import ranks
from soteacher.penalties.checks import (
    at_least_float32,
    check_some,
    checked_count,
    checked_epoch,
    checked_rows,
    checked_weight,
)
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
    in later epochs if a loader drops its last batch. A row of logits that is not finite is not
    added to the memory; the loss of its step is not finite, so that a gradient scaler skips it.

    If `torch.distributed` is initialised, every step in train mode joins the rows of all processes:
    each of them has the loss and the memory of one process that trains on all rows.
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
        self.register_buffer("seen", torch.zeros(size[0], dtype=torch.int32))

    def forward(self, logits: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the weighted loss, (), and add these predictions to the means.

        logits : (B, K), of this step.   indices : int64, (B,), different rows of the training set.
        epoch : 0-based.
        """
        indices = checked_rows(logits, indices, self.mean)
        epoch = checked_epoch(epoch, self.epochs)
        together = self.training and ranks.several()
        if together:
            indices, logits = ranks.joined(epoch, indices, at_least_float32(logits))
        check_some(logits)
        loss = self.unchecked(logits, indices, epoch)
        return ranks.averaged(loss) if together else loss

    def unchecked(self, logits: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the result of `forward` for rows that are known to be valid, of one process.

        Nothing is checked, so that a step does not wait for the device.
        """
        probabilities = at_least_float32(logits).softmax(dim=1)
        mean, seen = self.mean[indices], self.seen[indices]
        twice = (seen > 0).int() if self.mode == "official" else 0  # the first counts twice
        share = (1 / (seen + 1 + twice)).to(mean.dtype)
        if self.training:
            latest = probabilities.detach().to(mean.dtype)
            finite = logits.detach().isfinite().all(dim=1)
            moved = torch.lerp(mean, latest, share[:, None])
            self.mean[indices] = moved.where(finite[:, None], mean)
            self.seen[indices] = seen + finite
        weight = self.weight * ramped(epoch, self.epochs, self.ramp, self.mode)
        return weight * consistency_loss(probabilities, mean, seen > 0)

    def extra_repr(self) -> str:
        """Return the settings, as `print` shows them."""
        n_images, n_classes = self.mean.shape
        return (
            f"n_images={n_images}, n_classes={n_classes}, epochs={self.epochs}, "
            f"weight={self.weight}, ramp={self.ramp!r}, mode={self.mode!r}"
        )
