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
    display_name: ClassVar[str] = "CRD"

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
        chosen = torch.cat([batch.indices[:, None], self.drawn(batch)], dim=1)  # (B, 1 + m)
        scores = [  # (B, 1 + m) each
            self._scores(student_rows, self._kept["teacher_memory"], chosen),
            self._scores(teacher_rows, self._kept["student_memory"], chosen),
        ]
        with torch.no_grad():
            known = self._kept["constants"]
            first = self._context.n_images * torch.stack([side.mean() for side in scores])
            # nothing is changed in place: the backward pass needs the inputs of the losses
            first = first.to(known.dtype).where(first.isfinite(), 0.0)  # then the next batch's
            self._kept["constants"] = torch.where(known > 0, known, first)
            for embedded, name in (
                (student_rows, "student_memory"),
                (teacher_rows, "teacher_memory"),
            ):
                memory = self._kept[name]
                moved = self.momentum * memory[batch.indices] + (1 - self.momentum) * embedded
                rows = directions(moved).to(memory.dtype)
                finite = rows.isfinite().all(dim=1, keepdim=True)
                rows = rows.where(finite, memory[batch.indices])
                self._kept[name] = memory.index_copy(0, batch.indices, rows)
        constants = self._kept["constants"]
        return self._contrast(scores[0] / constants[0]) + self._contrast(scores[1] / constants[1])

    def drawn(self, batch: Batch) -> Tensor:
        """Draw images of other classes for each image, (B, m); every set is equally likely."""
        n = self._context.n_images
        random = self._context.random("crd negatives", batch.cursor)
        keys = torch.rand(len(batch.labels), n, generator=random, device=self._context.device)
        same_class = batch.labels[:, None] == self._context.labels
        keys = keys.masked_fill(same_class, 2.0)  # larger than any other key: they come last
        return keys.argsort(dim=1, stable=True)[:, : self.negatives]

    def _scores(self, anchors: Tensor, memory: Tensor, chosen: Tensor) -> Tensor:
        """Return exp(v . u / temperature) of anchors (B, d) and the chosen rows: (B, 1 + m)."""
        # products with all N rows take less time and memory than a copy of 1 + m rows per image
        products = anchors @ memory.to(anchors.dtype).T  # (B, d) -> (B, N)
        return (products.gather(1, chosen) / self.contrast_temperature).exp()

    def _contrast(self, probabilities: Tensor) -> Tensor:
        """Return the loss of one side from P, (B, 1 + m); the first column is the image itself."""
        noise = self.negatives / self._context.n_images  # m Pn
        itself = (probabilities[:, 0] / (probabilities[:, 0] + noise + EPSILON)).log()
        others = (noise / (probabilities[:, 1:] + noise + EPSILON)).log().sum(dim=1)
        return -(itself + others).mean()
