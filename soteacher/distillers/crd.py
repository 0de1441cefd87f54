"""Contrastive representation distillation (CRD): Tian, Krishnan and Isola, Contrastive
Representation Distillation, 2020.

Embeddings of both networks' pooled features, (B, d) of length 1, are contrasted with a memory of
the other network's embeddings: that of the same image, and those of m = 16384 images of other
classes. With anchor v, a row u of the memory, N training images, and a constant Z of each side,

    P = exp(v . u / 0.07) / Z,   Pn = 1 / N

    mean over B of -log(P / (P + m Pn)) of the image itself
                   - sum over the m others of log(m Pn / (P + m Pn))

The loss is the sum of two such terms: the student's embeddings against the teacher's memory, and
the reverse. Z is N times the mean of exp(v . u / 0.07) over the first batch, then fixed. After each
step the memory rows of the batch's images move half of the way to the new embeddings, and are
scaled to length 1; embeddings that are not finite change no memory. This follows the code that
SoTeacher's authors ran (RepDistiller's mode `exact`); both embeddings are trained with the student.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.core.errors import UserError
from soteacher.core.lazy import torch
from soteacher.core.random import generator, key
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight, directions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features
    from soteacher.terms import RunContext

EPSILON = 1e-7
"""This is added to denominators, as in RepDistiller."""


@register
class CRD(FeatureDistiller):
    """Contrast of an image's embeddings in both networks with those of other images."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 184
    display_name: ClassVar[str] = "CRD"
    revision: ClassVar[int] = 2

    weight: Weight = Table5(standard=0.8, soteacher=0.5)
    """Weight of the contrastive loss (beta of Table 5)."""
    negatives: int = Field(16384, ge=1)
    """Number of images of other classes that each image is contrasted with (m)."""
    contrast_temperature: float = Field(0.07, gt=0)
    """Temperature of the contrastive loss; `temperature` is the temperature of the predictions."""
    momentum: float = Field(0.5, ge=0, lt=1)
    """Share of the old memory row that is kept when the row is updated."""
    dimensions: int = Field(128, ge=1)
    """Number of dimensions of the embeddings (d)."""

    _context: Any = PrivateAttr()
    _student: Any = PrivateAttr()
    _teacher: Any = PrivateAttr()
    _kept: dict[str, Any] = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Fill the memories at random, so that their rows have length 1 on average."""
        most = context.n_images - int(context.labels.bincount().max())
        if self.negatives > most:
            raise UserError(
                f"CRD contrasts each image with {self.negatives} images of other classes, but the "
                f"largest class has only {most} images of other classes: set `negatives` to at "
                f"most {most}"
            )
        self._context = context
        bound = (3 / self.dimensions) ** 0.5
        self._kept = {"constants": torch.zeros(2, device=context.device)}
        for name in ("student_memory", "teacher_memory"):
            first = generator(key(context.seed, context.role, f"crd {name}"))
            rows = torch.rand(context.n_images, self.dimensions, generator=first)
            self._kept[name] = ((2 * rows - 1) * bound).to(context.device)

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return both embeddings."""
        [student_size], [teacher_size] = (
            context.student_features["pooled"],
            context.teacher_features["pooled"],
        )
        self._student = torch.nn.Linear(student_size, self.dimensions)
        self._teacher = torch.nn.Linear(teacher_size, self.dimensions)
        return {"student_embedding": self._student, "teacher_embedding": self._teacher}

    def buffers(self) -> dict[str, Tensor]:
        """Return both memories, (N, d), and both constants Z, (2,), 0 before the first step."""
        return self._kept

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the sum of both contrastive losses, and update the memories."""
        student_rows = directions(self._student(student["pooled"]))
        teacher_rows = directions(self._teacher(teacher["pooled"]))
        shape = len(batch.labels), self._context.n_images
        left_out = torch.ones(shape, dtype=torch.bool, device=self._context.device)
        left_out.scatter_(1, self.drawn(batch), False)
        losses = [
            self._contrast(student_rows, "teacher_memory", batch.indices, left_out, side=0),
            self._contrast(teacher_rows, "student_memory", batch.indices, left_out, side=1),
        ]
        with torch.no_grad():
            for embedded, name in (
                (student_rows, "student_memory"),
                (teacher_rows, "teacher_memory"),
            ):
                memory = self._kept[name]
                before = memory[batch.indices]
                moved = self.momentum * before + (1 - self.momentum) * embedded
                rows = directions(moved).to(memory.dtype)
                finite = rows.isfinite().all(dim=1, keepdim=True)
                memory[batch.indices] = rows.where(finite, before)
        return losses[0] + losses[1]

    def drawn(self, batch: Batch) -> Tensor:
        """Draw images of other classes for each image, (B, m); every set is equally likely."""
        n = self._context.n_images
        random = self._context.random("crd negatives", batch.cursor)
        keys = torch.rand(len(batch.labels), n, generator=random, device=self._context.device)
        same_class = batch.labels[:, None] == self._context.labels
        keys = keys.masked_fill(same_class, 2.0)  # larger than any other key: they come last
        return keys.topk(self.negatives, dim=1, largest=False, sorted=False).indices

    def _contrast(
        self, anchors: Tensor, name: str, indices: Tensor, left_out: Tensor, side: int
    ) -> Tensor:
        """Return one side's loss, (), with its gradient to the anchors, (B, d).

        name : the memory.   left_out : bool, (B, N): all images but the negatives of each image.

        All N scores of an image are computed, and those that are left out count 0. To gather the
        m negatives instead would take as long, and the backward pass of a gather makes the host
        wait for a GPU. The gradient is computed here, so the memory may change before the backward
        pass. With P = exp(v . u / T) / Z and c = m Pn,

            d/dv -log(P / (P + c)) = -c / (P + c) u / T
            d/dv -log(c / (P + c)) =  P / (P + c) u / T
        """
        with torch.no_grad():
            memory = self._kept[name].to(anchors.dtype)
            noise = self.negatives / self._context.n_images  # m Pn
            scaled, own_rows = anchors / self.contrast_temperature, memory[indices]
            own = (scaled * own_rows).sum(dim=1).exp()  # (B,)
            others = (scaled @ memory.T).exp_().masked_fill_(left_out, 0.0)  # (B, N)
            constant = self._constant(own, others, side).to(anchors.dtype)
            own, others = own / constant, others.div_(constant)
            # log(m Pn / (P + m Pn)) as -log1p(P / (m Pn)): P is some 1e-5, lost in a sum with m Pn
            logs = ((others + EPSILON) / noise).log1p_().masked_fill_(left_out, 0.0)
            own_sums = own + noise + EPSILON
            loss = (logs.sum(dim=1) - (own / own_sums).log()).mean()
            own_slopes = (noise + EPSILON) / own_sums
            slopes = others.div_(others + noise + EPSILON) @ memory - own_slopes[:, None] * own_rows
            slopes /= len(anchors) * self.contrast_temperature  # (B, d), of the mean over B
        return loss + (slopes * (anchors - anchors.detach())).sum()  # the last term is 0

    def _constant(self, own: Tensor, others: Tensor, side: int) -> Tensor:
        """Return the constant Z of a side, (); the first batch with finite scores fixes it."""
        known = self._kept["constants"][side]
        mean = (own.sum() + others.sum()) / (len(own) * (1 + self.negatives))
        first = (self._context.n_images * mean).to(known.dtype)
        first = first.where(first.isfinite(), 0.0)
        known.copy_(known.where(known > 0, first))
        return known
