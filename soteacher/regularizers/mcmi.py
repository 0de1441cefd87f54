"""Maximized conditional mutual information (MCMI): Ye et al., Bayes Conditional Distribution
Estimation for Knowledge Distillation Based on Conditional Mutual Information, ICLR 2024.

    - weight * mean over B of KL(p || Q_y),   p = softmax(logits)

Q_y is the mean of p over the training images of class y, a constant during an epoch. The sum over k
of p_k log(p_k / Q_yk), its mean over all images, is the conditional mutual information between an
image and its prediction, given the class. It is maximized: predictions of one class spread around
their mean, which SoTeacher's consistency makes narrower.

The authors fine-tune a trained teacher with it; a teacher method with `fine_tune` does so, too. Q_y
is computed from the trained network before the first epoch of fine-tuning, and after each epoch but
the last, in eval mode and without augmentation. The weight is constant.

Without `fine_tune`, a teacher is trained with it from the start, and the weight rises: it is
weight * e/T in the 0-based epoch e of T. The first epoch has no mean and no term.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.regularizers.base import Regularizer, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output
    from soteacher.terms import RunContext


@register
class MCMI(Regularizer):
    """Minus the divergence of predictions from their class means.

    The default weight is our choice, because the authors' code has none. An image is at least 1/n
    of the mean of its class's n images, so p_k / Q_yk is at most n. While `weight` is less than
    1 / ln n (0.16 for n = 500), cross-entropy is stronger at the start of an epoch: a larger
    probability of a wrong class, at the cost of the label's, always increases the whole loss.
    """

    weight: Weight = 0.1
    """Weight of the divergence: constant if the teacher is fine-tuned, else at the end of a linear
    rise over the epochs; our choice."""

    operations: ClassVar[int] = 20
    remembers_images: ClassVar[bool] = True
    takes_train_logits: ClassVar[bool] = True
    display_name: ClassVar[str] = "MCMI (added)"

    _epochs: int = PrivateAttr()
    _fine_tunes: bool = PrivateAttr()
    _log_means: Tensor = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Create log Q, (K, K) float32; a class without training images keeps the uniform one."""
        self._epochs, self._fine_tunes = context.epochs, context.fine_tunes
        n, uniform = context.n_classes, -math.log(context.n_classes)
        self._log_means = torch.full((n, n), uniform, dtype=torch.float32, device=context.device)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted term of the first view of each image; none without class means."""
        epoch = batch.cursor.epoch
        if epoch == 0 and not self._fine_tunes:
            return {}
        logits = output.logits[: len(batch.labels)]
        spread = divergence(logits, self._log_means[batch.labels].to(logits.dtype))
        weight = self.weight if self._fine_tunes else self.weight * epoch / self._epochs
        return {"mcmi": -weight * spread}

    def take_train_logits(self, logits: Tensor, labels: Tensor) -> None:
        """Compute log Q of the next epoch from the logits of the training images."""
        update_log_means(self._log_means, logits, labels)

    def buffers(self) -> dict[str, Tensor]:
        """Return log Q, (K, K)."""
        return {"log_means": self._log_means}


def divergence(logits: Tensor, log_means: Tensor) -> Tensor:
    """Return the mean over B of KL(softmax(logits) || exp(log_means)), (), in nats.

    logits, log_means : Tensor, (B, K); gradients flow to the logits.
    """
    log_p = logits.log_softmax(dim=1)
    return (log_p.exp() * (log_p - log_means)).sum(dim=1).mean()


def update_log_means(log_means: Tensor, logits: Tensor, labels: Tensor) -> None:
    """Set each row of `log_means`, (K, K), to the log of the mean prediction of its class's images.

    It adds in float64 and in logarithms, so no probability becomes 0. A class without images keeps
    its row.   logits : (n, K).   labels : int64, (n,).
    """
    log_p = logits.double().log_softmax(dim=1)[labels.argsort(stable=True)]
    sizes = labels.bincount(minlength=len(log_means)).tolist()
    for mean, of_class in zip(log_means, log_p.split(sizes), strict=True):
        if len(of_class):
            mean.copy_(of_class.logsumexp(dim=0) - math.log(len(of_class)))
