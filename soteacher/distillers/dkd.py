"""Decoupled knowledge distillation (DKD): Zhao et al., Decoupled Knowledge Distillation, CVPR 2022.

The divergence of `kd_loss` is split into two, which are weighted separately. With the label y of
each image and p = softmax(z / T):

    TCKD = T^2 * mean over B of KL((p_y, 1 - p_y) of the teacher || the same of the student)
    NCKD = T^2 * mean over B of KL(q of the teacher || q of the student),
    q = softmax(z / T) over the classes other than y

    cross-entropy + r * (alpha * TCKD + beta * NCKD)

r grows linearly over the first epochs: it is (e + 1) / 20 in the 0-based epoch e, and at most 1.
This is the loss of the authors' code (mdistiller). `kd_loss` itself is TCKD + (1 - p_y) * NCKD with
the teacher's p_y of each image: NCKD is what it hides for images that the teacher is sure of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import Distiller, check_alike, kd_loss

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output


@register
class DKD(Distiller):
    """Divergences of the label's probability and of the other classes, weighted separately."""

    operations: ClassVar[int] = 70
    logits_only: ClassVar[bool] = True
    display_name: ClassVar[str] = "DKD"

    kd: float = Field(0.0, ge=0)
    """Weight of the undivided divergence: 0, because its two parts replace it."""
    target_weight: float = Field(1.0, ge=0)
    """Weight of the divergence of the label's probability, alpha (the authors: 1)."""
    others_weight: float = Field(8.0, ge=0)
    """Weight of the divergence over the other classes, beta (the authors: 8 for most pairs, and 6
    for WRN40-2 with WRN40-1 or WRN16-2)."""
    warm_up: int = Field(20, ge=0)
    """Number of epochs over which both weights grow linearly to their values (the authors: 20)."""

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the two weighted divergences, `tckd` and `nckd`."""
        epoch = batch.cursor.epoch + 1
        grown = min(1.0, epoch / self.warm_up) if self.warm_up else 1.0
        target, others = decoupled_losses(
            output.logits, teacher.logits, batch.labels, self.temperature
        )
        return {
            "tckd": grown * self.target_weight * target,
            "nckd": grown * self.others_weight * others,
        }


def decoupled_losses(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return TCKD and NCKD, unweighted: two tensors, ().

    student, teacher : Tensor, (B, K), logits; no gradient to the teacher.
    labels : int64, (B,), from 0 to K - 1.   temperature : T.   Raises `UserError` if the shapes of
    the logits differ.
    """
    check_alike(student, teacher)
    is_label = labels[:, None] == torch.arange(student.shape[1], device=labels.device)  # (B, K)
    (ours, our_others), (theirs, their_others) = (
        _split(logits / temperature, is_label) for logits in (student, teacher.detach())
    )
    target = temperature**2 * kd_loss(ours, theirs, 1.0)
    shares = their_others.exp().masked_fill(is_label, 0.0)
    others = temperature**2 * (shares * (their_others - our_others)).sum(dim=1).mean()
    return target, others


def _split(logits: Tensor, is_label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of (the label, any other class), (B, 2), and log q, (B, K).

    log q of the label has no meaning, but it is finite, unlike that of a logit of -infinity. So its
    product with a share of 0 is 0, and so is its gradient.
    """
    of_label = logits.masked_fill(~is_label, -torch.inf).logsumexp(dim=1)
    of_others = logits.masked_fill(is_label, -torch.inf).logsumexp(dim=1)
    return torch.stack([of_label, of_others], dim=1), logits - of_others[:, None]
