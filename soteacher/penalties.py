"""The regularizers as modules for a training loop of one's own: examples/own_loop.py uses them.

Each gives a weighted loss to add to one's own. What it remembers lies in buffers: `to` moves it,
`state_dict` saves it. A penalty that remembers images is told which rows of the training set a
batch holds, and the epoch, counted from 0; after `eval()` it remembers nothing new. Losses are
float32 at least, under autocast too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from soteacher.errors import UserError, one_of
from soteacher.regularizers.base import wide
from soteacher.regularizers.consistency import Mode, Ramp, consistency_loss, ramped
from soteacher.regularizers.crl import ranking_loss
from soteacher.regularizers.l1 import Which, l1_sum
from soteacher.regularizers.lipschitz import Norm, lipschitz_sum


class LipschitzPenalty(nn.Module):
    """weight * `regularizers.lipschitz.lipschitz_sum` of a network: l_LR of the paper's Section 4.

    weight : the paper has 1e-5 on CIFAR-100, 1e-6 on Tiny-ImageNet.
    norm : of a convolution; see `lipschitz_sum`.
    """

    def __init__(self, weight: float = 1e-5, norm: Norm = "entrywise") -> None:
        super().__init__()
        self.weight, self.norm = _weight(weight), one_of("norm", norm, Norm)

    def forward(self, network: nn.Module) -> Tensor:
        """Return the weighted sum, (); call it once a step, after the network's forward pass."""
        return self.weight * lipschitz_sum(network, self.norm)


class L1Penalty(nn.Module):
    """weight * `regularizers.l1.l1_sum` of a network.

    parameters : `weights`, those of more than one dimension, or `all`.
    """

    def __init__(self, weight: float = 1e-5, parameters: Which = "weights") -> None:
        super().__init__()
        self.weight, self.which = _weight(weight), one_of("choice of parameters", parameters, Which)

    def forward(self, network: nn.Module) -> Tensor:
        """Return the weighted sum, ()."""
        return self.weight * l1_sum(network, self.which)


class ConsistencyPenalty(nn.Module):
    """Squared distance of predictions to their mean so far, image by image: l_CR of Section 4.

    n_images, n_classes : of the training set and the logits; (n_images, n_classes) float32 is kept.
    epochs : how long training is, for the ramp.
    weight : at the end of the ramp.   ramp, mode : see `regularizers.consistency.Consistency`.

    An image that was not seen before costs nothing: all in the first epoch, some in later ones if a
    loader drops its last batch. One process must see all images of an epoch: of several, each would
    remember only its own.
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
        self.epochs, self.weight = _count("epochs", epochs), _weight(weight)
        self.ramp, self.mode = one_of("ramp", ramp, Ramp), one_of("mode", mode, Mode)
        size = _count("images", n_images), _count("classes", n_classes)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("seen", torch.zeros(n_images, dtype=torch.int32))

    def forward(self, logits: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the weighted loss, (), and take these predictions into the means.

        logits : (B, K), of the step itself.   indices : int64, (B,), rows of the training set, each
        once.   epoch : 0-based.
        """
        _check_rows(logits, indices, self.mean)
        if not 0 <= epoch < self.epochs:
            raise UserError(
                f"epoch {epoch} of {self.epochs}: expected 0 to {self.epochs - 1}, since epochs "
                "count from 0; make the penalty with as many as there will be"
            )
        probabilities = wide(logits).softmax(dim=1)
        mean, seen = self.mean[indices], self.seen[indices]
        twice = (seen > 0).int() if self.mode == "official" else 0  # the first one counts twice
        share = (1 / (seen + 1 + twice)).to(mean.dtype)
        if self.training:
            latest = probabilities.detach().to(mean.dtype)
            self.mean[indices] = torch.lerp(mean, latest, share[:, None])
            self.seen[indices] = seen + 1
        weight = self.weight * ramped(epoch, self.epochs, self.ramp, self.mode)
        return weight * consistency_loss(probabilities, mean, seen > 0)


class CorrectnessRankingPenalty(nn.Module):
    """weight * `regularizers.crl.ranking_loss`: confidences are to be in the order of correctness.

    n_images : of the training set.   weight : the paper has 1.
    """

    correct: Tensor

    def __init__(self, n_images: int, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = _weight(weight)
        self.register_buffer("correct", torch.zeros(_count("images", n_images), dtype=torch.int32))

    def forward(self, logits: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the weighted loss, (), and count who of these was predicted right.

        logits : (B, K), of the step itself.   labels : int64, (B,).   indices : int64, (B,), rows
        of the training set, each once.   epoch : 0-based, that is how many epochs are complete.
        """
        _check_rows(logits, indices, self.correct)
        if labels.shape != indices.shape:
            raise UserError(f"expected labels (B,), one a row; got {tuple(labels.shape)}")
        if epoch < 0:
            raise UserError(f"epoch {epoch}: expected 0 or more, epochs count from 0")
        confidence = wide(logits).softmax(dim=1).amax(dim=1)
        correct = self.correct[indices]
        least = self.correct.min()
        most = max(epoch, 1)
        # all right in every epoch: 0 of 0, and all are alike
        correctness = (correct - least) / (most - least).clamp(min=1)
        if self.training:
            self.correct[indices] = correct + (logits.detach().argmax(dim=1) == labels)
        return self.weight * ranking_loss(confidence, correctness)


def _weight(weight: float) -> float:
    if not 0 <= weight < math.inf:
        raise UserError(f"expected a weight of 0 or more; got {weight}")
    return weight


def _count(what: str, number: int) -> int:
    if number < 1:
        raise UserError(f"expected at least one of {what}; got {number}")
    return number


def _check_rows(logits: Tensor, indices: Tensor, memory: Tensor) -> None:
    if logits.ndim != 2 or indices.shape != logits.shape[:1]:
        raise UserError(
            f"expected logits (B, K) and indices (B,); got {tuple(logits.shape)} and "
            f"{tuple(indices.shape)}"
        )
    if memory.ndim == 2 and memory.shape[1] != logits.shape[1]:
        raise UserError(
            f"expected logits of {memory.shape[1]} classes, as the penalty was made for; got "
            f"{logits.shape[1]}"
        )
    if memory.device != logits.device:
        raise UserError(
            f"the penalty lies on {memory.device}, the logits on {logits.device}: move it there "
            "once, penalty.to(device)"
        )
