"""Self-supervision (SSKD): Xu et al., Knowledge Distillation Meets Self-Supervision, 2020.

Each image is seen turned by 0, 90, 180 and 270 degrees. Both networks have a head on their pooled
features, two linear layers with a ReLU between, and the cosines of its outputs between a turned
image and all B upright ones are one row of similarities. The loss of a student is

    l1 * cross-entropy (upright) + l2 * 4^2 KL at T = 4 (upright)
    + l3 * 4^2 KL at T = 4 (turned) + l4 * 0.5^2 KL at T = 0.5 between rows of similarities

each KL from the teacher's to the student's, a mean over rows. The last two leave out what the
teacher gets most wrong: rows are ordered by the place of the right class (of the own upright image)
in the teacher's order; all with place 0 count, and of the others a share, the best placed ones: 1.0
of them for l3, 0.75 for l4.

The teacher's head is trained first, the teacher itself frozen, once a teacher: 60 epochs, rate
0.05, a tenth after 30 and 45, cross-entropy of the cosines with the own upright image as the label.

As in the fork that SoTeacher's authors ran: l1 = l2 = 1, l3 = 2.7 for students of Standard's
teachers and 1.0 for SoTeacher's, l4 = 10. The paper of Xu et al. has more transformations than
rotations, and other weights.
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
"""That the training of the teacher's head begins with."""


@register
class SSKD(Distiller):
    """KD of upright and turned images, and of their similarities under a self-supervised head."""

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "SSKD"
    turns: ClassVar[int] = 4

    transformed_weight: Weight = Table5(standard=2.7, soteacher=1.0)
    """Of the turned images' predictions (lambda 3 of Appendix D.2)."""
    similarity_weight: Weight = Table5(standard=10.0, soteacher=10.0)
    """Of the similarities (lambda 4 of Appendix D.2)."""
    similarity_temperature: float = Field(0.5, gt=0)
    """Of the similarities; `temperature` is the predictions'."""
    transformed_share: float = Field(1.0, ge=0, le=1)
    """Of the turned images that the teacher classifies wrongly: how many count."""
    similarity_share: float = Field(0.75, ge=0, le=1)
    """Of the turned images that the teacher finds nearer to others: how many count."""
    prepare_epochs: int = Field(60, ge=1)
    """Of the training of the teacher's head, which is done once a teacher."""

    _head: Any = PrivateAttr()

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return the student's head."""
        self._head = head(*context.student_features["pooled"])
        return {"head": self._head}

    def preparation(
        self, context: RunContext, network: nn.Module | None, modules: dict[str, nn.Module]
    ) -> Preparation:
        """Return the stage that trains the teacher's head."""
        made = head(*context.teacher_features["pooled"])

        def loss(batch: Batch, output: Output | None, teacher: Output | None) -> dict[str, Tensor]:
            rows = similarities(made(teacher.features["pooled"]), len(batch.labels))
            own = own_images(rows)
            return {"similarity": torch.nn.functional.cross_entropy(rows, own)}

        def rate(epoch: int) -> float:
            falls = (2 * epoch >= self.prepare_epochs) + (4 * epoch >= 3 * self.prepare_epochs)
            return float(RATE * 0.1**falls)

        return Preparation(self.prepare_epochs, rate, {"head": made}, loss, student=False)

    def method_losses(
        self, batch: Batch, output: Output, teacher: Output, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the divergences of turned images, `transformed` and `similarity`, weighted."""
        n = len(batch.labels)
        ours = similarities(self._head(output.features["pooled"]), n)
        theirs = similarities(self._prepared["head"](teacher.features["pooled"]), n)
        labels = batch.labels.repeat(self.turns - 1)
        kept = best(teacher.logits[n:], labels, self.transformed_share)
        near = best(theirs, own_images(theirs), self.similarity_share)
        turned = kept_divergence(output.logits[n:], teacher.logits[n:], self.temperature, kept)
        alike = kept_divergence(ours, theirs, self.similarity_temperature, near)
        return {
            "transformed": self.transformed_weight * turned,
            "similarity": self.similarity_weight * alike,
        }


def head(size: int) -> nn.Module:
    """Two linear layers with a ReLU between."""
    nn = torch.nn
    return nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))


def similarities(projected: Tensor, n: int) -> Tensor:
    """Cosines of turned images with the n upright ones, which come first: (4n, d) -> (3n, n)."""
    rows = directions(projected)
    return rows[n:] @ rows[:n].T


def own_images(rows: Tensor) -> Tensor:
    """Which of the n upright images each of the turned ones is, (3n,)."""
    turned, n = rows.shape
    return torch.arange(n, device=rows.device).repeat(turned // n)


def best(scores: Tensor, labels: Tensor, share: float) -> Tensor:
    """Which rows count, (R,) bool: those with the label first, and the best `share` of the others.

    scores : (R, K), the teacher's.   labels : int64, (R,).
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    places = (order == labels[:, None]).int().argmax(dim=1)  # of the label: 0 is right
    wrong = (places > 0).sum()
    count = len(places) - wrong + (wrong * share).floor()
    rank = places.argsort(stable=True).argsort(stable=True)
    return rank < count


def kept_divergence(student: Tensor, teacher: Tensor, temperature: float, kept: Tensor) -> Tensor:
    """T^2 KL(teacher || student) of the kept rows of (R, K), their mean; 0 if there is none."""
    ours = (student / temperature).log_softmax(dim=1)
    theirs = (teacher / temperature).log_softmax(dim=1)
    rows = (theirs.exp() * (theirs - ours)).sum(dim=1)  # (R, K) -> (R,)
    return temperature**2 * (rows * kept).sum() / kept.sum().clamp(min=1)
