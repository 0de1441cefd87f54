"""FitNets: Romero et al., FitNets: Hints for Thin Deep Nets, 2015.

The student's map of a middle stage is trained to equal the teacher's:

    mean over all entries of (r(F_s) - F_t)^2,   r = ReLU(BN(conv(F_s)))

with the maps of stage 2, and a trained regressor r that gives the student's map the teacher's
shape. As in the code that SoTeacher's authors ran (RepDistiller), the loss is added throughout
training; Romero et al. first train the student up to that stage, and then distill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, MapSizes, Table5, Weight, stages

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features
    from soteacher.terms import RunContext


@register
class FitNet(FeatureDistiller):
    """Mean squared error between the teacher's map of stage 2 and the regressed student's map."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 14
    display_name: ClassVar[str] = "FitNets"
    needs: ClassVar[tuple[str, ...]] = ("stage1",)

    weight: Weight = Table5(standard=100.0, soteacher=50.0)
    """Weight of the mean squared error (beta of Table 5)."""

    _stage: str = PrivateAttr()
    _regressor: Any = PrivateAttr()

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return the regressor."""
        from soteacher.models.adapters import regressor

        self._stage = hint(stages(context))
        student, teacher = context.student_features, context.teacher_features
        self._regressor = regressor(student[self._stage], teacher[self._stage], relu=True)
        return {"regressor": self._regressor}

    @classmethod
    def norm_maps(cls, student: MapSizes, teacher: MapSizes) -> tuple[tuple[int, int], ...]:
        """Return the size of the teacher's map, which the regressor's batch norm gets."""
        common = tuple(stage for stage in student if stage in teacher)
        return (teacher[hint(common)],)

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the mean over all entries of the squared difference."""
        regressed = self._regressor(student[self._stage])
        return torch.nn.functional.mse_loss(regressed, teacher[self._stage])


def hint(common: tuple[str, ...]) -> str:
    """Return the stage whose maps are compared, of those that both networks have."""
    return "stage2" if "stage2" in common else common[-1]
