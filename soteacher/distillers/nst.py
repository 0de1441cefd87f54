"""Neuron selectivity transfer (NST): Huang and Wang, Like What You Like: Knowledge Distill via
Neuron Selectivity Transfer, 2017.

The channels of a map, each scaled to length 1 over its pixels, are treated as samples of a
distribution. The loss is the squared maximum mean discrepancy between the student's and the
teacher's distribution in each stage:

    sum over stages of E k(t, t') + E k(s, s') - 2 E k(s, t),   k(a, b) = (a . b)^2

with means over images and pairs of channels. The larger of two maps is averaged down to the size of
the smaller. The kernel is Huang and Wang's polynomial kernel of degree 2 without constant, as in
the code that SoTeacher's authors ran (RepDistiller).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PrivateAttr

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight, directions, stages

if TYPE_CHECKING:
    from torch import Tensor

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features
    from soteacher.terms import RunContext


@register
class NST(FeatureDistiller):
    """Discrepancy between the distributions of channels, of all stages."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 159
    display_name: ClassVar[str] = "NST"

    weight: Weight = Table5(standard=50.0, soteacher=25.0)
    """Weight of the discrepancy (beta of Table 5)."""

    _stages: tuple[str, ...] = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Store the stages that both networks have."""
        self._stages = stages(context)

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the sum over stages of the squared discrepancy."""
        from soteacher.models.adapters import same_size

        losses = []
        for stage in self._stages:
            student_channels, teacher_channels = map(
                channels, same_size(student[stage], teacher[stage])
            )
            losses.append(
                kernel(teacher_channels, teacher_channels)
                + kernel(student_channels, student_channels)
                - 2 * kernel(student_channels, teacher_channels)
            )
        return torch.stack(losses).sum()


def channels(features: Tensor) -> Tensor:
    """Return the channels of (B, C, H, W) as vectors of length 1 over pixels: (B, C, H * W)."""
    return directions(features.flatten(2))


def kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of (a . b)^2 over images and pairs of channels, (B, C, N) and (B, D, N)."""
    return (first @ second.transpose(1, 2)).square().mean()
