"""Correlation congruence (CC): Peng et al., Correlation Congruence for Knowledge Distillation,
2019.

With e_s and e_t linear embeddings of both networks' pooled features, and D = e_s - e_t, (B, d):

    mean over i < B of sum over d of |D_i| * |D_(i+1)|

for the consecutive images of a batch. This follows the code that the authors of CC contributed to
RepDistiller and that SoTeacher's authors ran; the loss in the CC paper compares matrices of kernel
values between images instead. Both embeddings are trained with the student.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features
    from soteacher.terms import RunContext


@register
class CC(FeatureDistiller):
    """Products of consecutive images' differences between embedded features."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 26
    display_name: ClassVar[str] = "CC"

    weight: Weight = Table5(standard=0.02, soteacher=0.01)
    """Weight of the products (beta of Table 5)."""
    dimensions: int = Field(128, ge=1)
    """Number of dimensions of the embeddings."""

    _student: Any = PrivateAttr()
    _teacher: Any = PrivateAttr()

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return both embeddings."""
        [student_size], [teacher_size] = (
            context.student_features["pooled"],
            context.teacher_features["pooled"],
        )
        self._student = torch.nn.Linear(student_size, self.dimensions)
        self._teacher = torch.nn.Linear(teacher_size, self.dimensions)
        return {"student_embedding": self._student, "teacher_embedding": self._teacher}

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the mean over consecutive images; 0 for a batch of one."""
        apart = (self._student(student["pooled"]) - self._teacher(teacher["pooled"])).abs()
        return (apart[:-1] * apart[1:]).sum() / max(len(apart) - 1, 1)
