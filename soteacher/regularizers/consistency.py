"""Consistency regularization (CR) of the teacher: SoTeacher, Section 4, Appendices C and D.1."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PrivateAttr

from soteacher.core.registry import register
from soteacher.penalties.choices import Mode, Ramp
from soteacher.regularizers.base import Regularizer, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output
    from soteacher.penalties.consistency import ConsistencyPenalty
    from soteacher.terms import RunContext


@register
class Consistency(Regularizer):
    """`weight` * ramp * `consistency_loss` against the mean of each image's earlier predictions.

    Predictions are softmax probabilities at temperature 1 of the augmented training view, in
    train mode: those of the training step, without a second forward pass. The first epoch has no
    earlier prediction and no term. The mean is kept as (N, K) float32 on the device and updated
    after the loss is computed.
    """

    weight: Weight | dict[str, Weight] = 1.0
    """Weight of the consistency loss at the end of the ramp, lambda_CR^max (the paper: 1): one
    number, or a mapping from data set to weight."""
    ramp: Ramp = "linear"
    """Curve by which the weight rises over the epochs (Appendix D.1)."""
    mode: Mode = "official"
    """Version of the method. `official`, the authors' code: the first prediction counts twice in
    the mean, and the 1-based epoch e >= 2 has weight ramp(e/T). `paper`, the paper's text: the
    mean is a plain mean, and epoch e has weight ramp((e-1)/T)."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 38
    remembers_images: ClassVar[bool] = True
    per_data: ClassVar[tuple[str, ...]] = ("weight",)

    _penalty: ConsistencyPenalty = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Create the memory of mean predictions, (N, K), and of their number, (N,)."""
        from soteacher.penalties.consistency import ConsistencyPenalty

        self._penalty = ConsistencyPenalty(
            context.n_images, context.n_classes, context.epochs, self.weight, self.ramp, self.mode
        ).to(context.device)

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted loss (none in the first epoch), and update the mean predictions."""
        logits = output.logits[: len(batch.labels)]
        loss = self._penalty.unchecked(logits, batch.indices, batch.cursor.epoch)
        return {"consistency": loss} if batch.cursor.epoch else {}

    def buffers(self) -> dict[str, Tensor]:
        """Return the mean predictions, (N, K), and their number, (N,)."""
        return dict(self._penalty.named_buffers())
