"""Variational information distillation (VID): Ahn et al., Variational Information Distillation for
Knowledge Transfer, 2019.

The teacher's maps are modelled by a normal distribution about a function mu of the student's maps,
with a variance s_c^2 for each channel. The loss is the negative log-likelihood in each stage:

    sum over stages of mean over all entries of ((mu(F_s) - F_t)^2 / s_c^2 + log s_c^2) / 2

mu is three 1x1 convolutions with ReLUs between; s_c^2 = softplus(a_c) + 1e-5, initially 5. Both are
trained with the student. The larger of two maps is averaged down to the size of the smaller. The
constant of the likelihood, log(2 pi) / 2, is left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight, stages

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features
    from soteacher.terms import RunContext

LEAST, FIRST = 1e-5, 5.0
"""The smallest variance, and the initial variance."""


@register
class VID(FeatureDistiller):
    """Negative log-likelihood of the teacher's maps, given the student's maps, in all stages."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 111
    display_name: ClassVar[str] = "VID"
    needs: ClassVar[tuple[str, ...]] = ("stage1",)

    weight: Weight = Table5(standard=1.0, soteacher=0.5)
    """Weight of the negative log-likelihood (beta of Table 5)."""

    _means: dict[str, Any] = PrivateAttr()
    _scales: Any = PrivateAttr()

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return the functions mu, and the a_c of all stages."""
        nn = torch.nn
        self._means, scales = {}, {}
        for stage in stages(context):
            into, out = context.student_features[stage][0], context.teacher_features[stage][0]
            self._means[stage] = nn.Sequential(
                nn.Conv2d(into, out, 1, bias=False),
                nn.ReLU(),
                nn.Conv2d(out, out, 1, bias=False),
                nn.ReLU(),
                nn.Conv2d(out, out, 1, bias=False),
            )
            first = math.log(math.expm1(FIRST - LEAST))  # softplus(first) = FIRST - LEAST
            scales[stage] = nn.Parameter(torch.full((out,), first))
        self._scales = nn.ParameterDict(scales)
        return {"means": nn.ModuleDict(self._means), "scales": self._scales}

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the sum over stages of the mean negative log-likelihood."""
        from soteacher.models.adapters import same_size

        losses = []
        for stage, mean in self._means.items():
            student_map, teacher_map = same_size(student[stage], teacher[stage])
            variances = torch.nn.functional.softplus(self._scales[stage]) + LEAST
            variances = variances[:, None, None]  # (C) -> (C, 1, 1)
            errors = (mean(student_map) - teacher_map).square()
            losses.append((errors / variances + variances.log()).mean() / 2)
        return torch.stack(losses).sum()
