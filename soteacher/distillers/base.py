"""The base of every distiller, and the two losses that nearly all of them contain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from soteacher.lazy import torch
from soteacher.terms import LossTerm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.data.stream import Batch
    from soteacher.models.output import Output


def kd_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of softened predictions: Hinton et al. 2015.

    T^2 * mean over B of sum over K of p_T log(p_T / p_S), p = softmax(logits / T): RepDistiller's
    reduction (sum over classes, mean over the batch), with the T^2 that keeps gradients in scale.

    student, teacher : Tensor, (B, K), logits; no gradient to the teacher.   Returns Tensor, ().
    """
    return temperature**2 * torch.nn.functional.kl_div(
        (student / temperature).log_softmax(dim=1),
        (teacher.detach() / temperature).log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )


class Distiller(LossTerm):
    """ce * cross-entropy + kd * `kd_loss` + what the method itself adds (Appendix D.2)."""

    ce: float = Field(1.0, ge=0)
    """Weight of the cross-entropy with the labels (gamma of Appendix D.2)."""
    kd: float = Field(1.0, ge=0)
    """Weight of the softened predictions' divergence (alpha of Appendix D.2)."""
    temperature: float = Field(4.0, gt=0)
    """Temperature of both predictions in the divergence."""

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the two common losses and those of `method_losses`."""
        cross_entropy = torch.nn.functional.cross_entropy(output.logits, batch.labels)
        divergence = kd_loss(output.logits, teacher.logits, self.temperature)
        own = self.method_losses(batch, output, teacher, network)
        return {"ce": self.ce * cross_entropy, "kd": self.kd * divergence, **own}

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Named, weighted losses of the method beyond the common two."""
        return {}

    def teacher_epoch(self, epoch: int, epochs: int, last: int) -> int:
        """Which 1-based epoch's teacher serves a 0-based student epoch; `last` is the final one."""
        return last
