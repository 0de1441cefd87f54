"""Correctness ranking loss (CRL): Moon et al., "Confidence-Aware Learning for Deep Neural
Networks", ICML 2020; the paper's Appendix F, Eq. (31), and Table 7.

This follows the method's released code (daintlab/confidence-aware-learning), which the paper's
authors also use. It differs from Eq. (31) in two points: the loss of pairs of equal correctness is
0, where the equation has g = -1 (A23); and the least correctness of all images counts as 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soteacher.penalties import ranks
from soteacher.penalties.checks import (
    at_least_float32,
    check_some,
    checked_count,
    checked_epoch,
    checked_labels,
    checked_rows,
    checked_weight,
)


class CorrectnessRankingPenalty(nn.Module):
    """weight * `ranking_loss`, which pushes confidences into the order of correctness.

    n_images : number of training images.   weight : weight of the loss (the paper: 1).

    A row of logits that is not finite does not count as a correct prediction. If
    `torch.distributed` is initialised, every step in train mode joins the rows of all processes, as
    `ConsistencyPenalty` does; the pairs are those of the joined batch.
    """

    correct: Tensor

    def __init__(self, n_images: int, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = checked_weight(weight)
        self.register_buffer(
            "correct", torch.zeros(checked_count("images", n_images), dtype=torch.int32)
        )

    def forward(self, logits: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the weighted loss, (), and count the images that are predicted correctly.

        logits : (B, K), of this step.   labels : int64, (B,).   indices : int64, (B,), different
        rows of the training set.   epoch : 0-based, the number of complete epochs.
        """
        indices = checked_rows(logits, indices, self.correct)
        epoch = checked_epoch(epoch)
        labels = checked_labels(labels, logits, self.correct)
        confidence, right = predictions(logits, labels)
        together = self.training and ranks.several()
        if together:
            indices, confidence, right = ranks.joined(epoch, indices, confidence, right)
        check_some(confidence)
        loss = self._ranked(confidence, right, indices, epoch)
        return ranks.averaged(loss) if together else loss

    def unchecked(self, logits: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the result of `forward` for rows that are known to be valid, of one process.

        Nothing is checked, so that a step does not wait for the device.
        """
        return self._ranked(*predictions(logits, labels), indices, epoch)

    def _ranked(self, confidence: Tensor, right: Tensor, indices: Tensor, epoch: int) -> Tensor:
        correct = self.correct[indices]
        least = self.correct.min()
        most = max(epoch, 1)
        # if all images are correct in every epoch, this is 0 / 0: all have equal correctness
        correctness = (correct - least) / (most - least).clamp(min=1)
        if self.training:
            # a loader may have an image twice in an epoch, to fill up its last batch
            self.correct[indices] = (correct + right).clamp(max=epoch + 1)
        return self.weight * ranking_loss(confidence, correctness)

    def extra_repr(self) -> str:
        """Return the settings, as `print` shows them."""
        return f"n_images={len(self.correct)}, weight={self.weight}"


def predictions(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the confidence of each row, (B,), and whether it is correct: 0 or 1, int32, (B,)."""
    confidence = at_least_float32(logits).softmax(dim=1).amax(dim=1)
    rows = logits.detach()
    right = (rows.argmax(dim=1) == labels) & rows.isfinite().all(dim=1)
    return confidence, right.int()


def ranking_loss(confidence: Tensor, correctness: Tensor) -> Tensor:
    """Loss of confidences that are not ordered, or not as far apart, as correctness: Eq. (31).

    mean over i of max(0, -sign(c_i - c_j) (p_i - p_j) + |c_i - c_j|), with j = i + 1, and j = 1 for
    the last i: B pairs. The loss of pairs with c_i = c_j is 0.

    confidence : Tensor, (B,), p in [0, 1], gradients flow to both images of a pair.
    correctness : Tensor, (B,), c in [0, 1], constant.   Returns Tensor, ().
    """
    apart = correctness - correctness.roll(-1)
    ordered = apart.sign() * (confidence - confidence.roll(-1))
    return (apart.abs() - ordered).clamp(min=0).mean()
