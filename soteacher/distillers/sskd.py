"""Self-supervision (SSKD): Xu et al., Knowledge Distillation Meets Self-Supervision, 2020.

Each image is turned by 0, 90, 180 and 270 degrees. Both networks have a head on their pooled
features: two linear layers with a ReLU between. The cosines of the head's outputs between a turned
image and all B upright images are one row of similarities. The loss of a student is

    l1 * cross-entropy (upright) + l2 * 4^2 KL at T = 4 (upright)
    + l3 * 4^2 KL at T = 4 (turned) + l4 * 0.5^2 KL at T = 0.5 between rows of similarities

where each KL is KL(teacher || student), a mean over rows. The last two terms leave out the worst
predictions of the teacher: rows are ranked by the position of the correct class (for l4: of the
same upright image) in the teacher's order. All rows with position 0 count, and a share of the
others, those with the best positions: 1.0 of them for l3, 0.75 for l4.

The teacher's head is trained in a first stage, once per teacher, while the teacher is frozen: 60
epochs at learning rate 0.05, multiplied by 0.1 after epochs 30 and 45, by cross-entropy of the
cosines with the same upright image as the label.

This follows the fork that SoTeacher's authors ran: l1 = l2 = 1, l3 = 2.7 for students of Standard
teachers and 1.0 for students of SoTeacher teachers, l4 = 10. The paper of Xu et al. has more
transformations than rotations, and other weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import Distiller, Table5, Weight, directions
from soteacher.terms import Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output
    from soteacher.terms import RunContext

RATE = 0.05
"""Initial learning rate of the teacher's head."""


@register
class SSKD(Distiller):
    """KD of upright and turned images, and of their similarities in a self-supervised head."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 125
    prepares_from_teacher: ClassVar[bool] = True
    display_name: ClassVar[str] = "SSKD"
    turns: ClassVar[int] = 4

    transformed_weight: Weight = Table5(standard=2.7, soteacher=1.0)
    """Weight of the divergence of turned images' predictions (lambda 3 of Appendix D.2)."""
    similarity_weight: Weight = Table5(standard=10.0, soteacher=10.0)
    """Weight of the divergence of similarities (lambda 4 of Appendix D.2)."""
    similarity_temperature: float = Field(0.5, gt=0)
    """Temperature of the similarities; `temperature` is the temperature of the predictions."""
    transformed_share: float = Field(1.0, ge=0, le=1)
    """Share of the turned images that count among those that the teacher classifies wrongly."""
    similarity_share: float = Field(0.75, ge=0, le=1)
    """Share of the turned images that count among those that the teacher places nearer to another
    upright image."""
    prepare_epochs: int = Field(60, ge=1)
    """Number of epochs of the first stage, which trains the teacher's head once per teacher."""

    _head: Any = PrivateAttr()

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return the student's head."""
        self._head = head(*context.student_features["pooled"])
        return {"head": self._head}

    def preparation(
        self, context: RunContext, network: nn.Module | None, modules: dict[str, nn.Module]
    ) -> Preparation:
        """Return the stage that trains the teacher's head."""
        head_module = head(*context.teacher_features["pooled"])

        def loss(batch: Batch, output: Output | None, teacher: Output | None) -> dict[str, Tensor]:
            rows = similarities(head_module(teacher.features["pooled"]), len(batch.labels))
            labels = upright_rows(rows)
            return {"similarity": torch.nn.functional.cross_entropy(rows, labels)}

        def rate(epoch: int) -> float:
            falls = (2 * epoch >= self.prepare_epochs) + (4 * epoch >= 3 * self.prepare_epochs)
            return float(RATE * 0.1**falls)

        return Preparation(self.prepare_epochs, rate, {"head": head_module}, loss, student=False)

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted divergences of turned images, `transformed` and `similarity`."""
        n = len(batch.labels)
        student_rows = similarities(self._head(output.features["pooled"]), n)
        teacher_rows = similarities(self._prepared["head"](teacher.features["pooled"]), n)
        labels = batch.labels.repeat(self.turns - 1)
        kept = best(teacher.logits[n:], labels, self.transformed_share)
        near = best(teacher_rows, upright_rows(teacher_rows), self.similarity_share)
        turned = kept_divergence(output.logits[n:], teacher.logits[n:], self.temperature, kept)
        similar = kept_divergence(student_rows, teacher_rows, self.similarity_temperature, near)
        return {
            "transformed": self.transformed_weight * turned,
            "similarity": self.similarity_weight * similar,
        }


def head(size: int) -> nn.Module:
    """Return two linear layers with a ReLU between."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))


def similarities(projected: Tensor, n: int) -> Tensor:
    """Return the cosines of turned images with the n upright ones: (4n, d) -> (3n, n)."""
    rows = directions(projected)
    return rows[n:] @ rows[:n].T


def upright_rows(rows: Tensor) -> Tensor:
    """Return, for each turned image, the index of the same upright image, (3n,)."""
    turned, n = rows.shape
    return torch.arange(n, device=rows.device).repeat(turned // n)


def best(scores: Tensor, labels: Tensor, share: float) -> Tensor:
    """Return which rows count, (R,) bool: those with the label first, and a share of the others.

    scores : (R, K), of the teacher.   labels : int64, (R,).
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    places = (order == labels[:, None]).int().argmax(dim=1)  # of the label: 0 is correct
    wrong = (places > 0).sum()
    count = len(places) - wrong + (wrong * share).floor()
    rank = places.argsort(stable=True).argsort(stable=True)
    return rank < count


def kept_divergence(student: Tensor, teacher: Tensor, temperature: float, kept: Tensor) -> Tensor:
    """Return T^2 KL(teacher || student), the mean over the kept rows of (R, K); 0 without rows."""
    student_rows = (student / temperature).log_softmax(dim=1)
    teacher_rows = (teacher / temperature).log_softmax(dim=1)
    rows = (teacher_rows.exp() * (teacher_rows - student_rows)).sum(dim=1)  # (R, K) -> (R,)
    return temperature**2 * (rows * kept).sum() / kept.sum().clamp(min=1)
