"""Neuron selectivity transfer (NST): Huang and Wang, Like What You Like: Knowledge Distill via
Neuron Selectivity Transfer, 2017.

The channels of a map, each scaled to length 1 over its pixels, are treated as samples of a
distribution. The loss is the squared maximum mean discrepancy between the student's and the
teacher's distribution in each stage:

    sum over stages of E k(t, t') + E k(s, s') - 2 E k(s, t),   k(a, b) = (a . b)^2

with means over images and pairs of channels. The larger of two maps is averaged down to the size of
the smaller. The kernel is Huang and Wang's polynomial kernel of degree 2 without constant, as in
the code that SoTeacher's authors ran (RepDistiller).

With this kernel, the discrepancy of two maps is the squared distance of their mean outer products
over the channels, one entry per pair of pixels:

    E k(t, t') + E k(s, s') - 2 E k(s, t) = |E t t^T - E s s^T|^2

Maps with fewer pixels than channels are compared in this form, which takes fewer operations.
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
    needs: ClassVar[tuple[str, ...]] = ("stage1",)
    revision: ClassVar[int] = 2

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
            pair = same_size(student[stage], teacher[stage])
            losses.append(discrepancy(*map(channels, pair)))
        return torch.stack(losses).sum()


def discrepancy(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared discrepancy of channels, (B, C, N) and (B, D, N): the mean over B."""
    if student.shape[2] < min(student.shape[1], teacher.shape[1]):
        difference = outer(teacher) - outer(student)
        return difference.square().sum(dim=(1, 2)).mean()
    return kernel(teacher, teacher) + kernel(student, student) - 2 * kernel(student, teacher)


def channels(features: Tensor) -> Tensor:
    """Return the channels of (B, C, H, W) as vectors of length 1 over pixels: (B, C, H * W)."""
    # all training uses the channels-last layout, in which the pixels of a channel are far apart
    return directions(features.contiguous().flatten(2))


def kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of (a . b)^2 over images and pairs of channels, (B, C, N) and (B, D, N)."""
    return (first @ second.transpose(1, 2)).square().mean()


def outer(vectors: Tensor) -> Tensor:
    """Return the mean of v v^T over channels (B, C, N): (B, N, N)."""
    return vectors.transpose(1, 2) @ vectors / vectors.shape[1]
