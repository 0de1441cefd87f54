"""Correctness ranking loss (CRL): Moon et al., "Confidence-Aware Learning for Deep Neural
Networks", ICML 2020; the paper's Appendix F, Eq. (31), and Table 7.

Read as in the method's released code (daintlab/confidence-aware-learning), which the authors' code
has, too. It differs from Eq. (31) in two things: pairs of equal correctness cost nothing, where the
equation would have g = -1 (A23); and the least correctness of all images counts as 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soteacher.core.errors import UserError
from soteacher.penalties.checks import at_least_float32, check_rows, checked_count, checked_weight


class CorrectnessRankingPenalty(nn.Module):
    """weight * `ranking_loss`: confidences are to be in the order of correctness.

    n_images : of the training set.   weight : the paper has 1.
    """

    correct: Tensor

    def __init__(self, n_images: int, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = checked_weight(weight)
        self.register_buffer(
            "correct", torch.zeros(checked_count("images", n_images), dtype=torch.int32)
        )

    def forward(self, logits: Tensor, labels: Tensor, indices: Tensor, epoch: int) -> Tensor:
        """Return the weighted loss, (), and count who of these was predicted right.

        logits : (B, K), of the step itself.   labels : int64, (B,).   indices : int64, (B,), rows
        of the training set, each once.   epoch : 0-based, that is how many epochs are complete.
        """
        check_rows(logits, indices, self.correct)
        if labels.shape != indices.shape:
            raise UserError(f"expected labels (B,), one a row; got {tuple(labels.shape)}")
        if epoch < 0:
            raise UserError(f"epoch {epoch}: expected 0 or more, epochs count from 0")
        confidence = at_least_float32(logits).softmax(dim=1).amax(dim=1)
        correct = self.correct[indices]
        least = self.correct.min()
        most = max(epoch, 1)
        # all right in every epoch: 0 of 0, and all are alike
        correctness = (correct - least) / (most - least).clamp(min=1)
        if self.training:
            self.correct[indices] = correct + (logits.detach().argmax(dim=1) == labels)
        return self.weight * ranking_loss(confidence, correctness)


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
