"""Neuron selectivity transfer (NST): Huang and Wang, Like What You Like: Knowledge Distill via
Neuron Selectivity Transfer, 2017.

A map's channels, each scaled to length 1 over its pixels, are taken as draws from a distribution;
the squared maximum mean discrepancy between student's and teacher's is the loss, stage by stage:

    sum over stages of E k(t, t') + E k(s, s') - 2 E k(s, t),   k(a, b) = (a . b)^2

with means over images and pairs of channels. The larger of two maps is averaged down to the smaller
one's size. Of Huang and Wang's kernels this is the polynomial one of degree 2, without constant, as
SoTeacher (RepDistiller) ran it.
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
    display_name: ClassVar[str] = "NST"

    weight: Weight = Table5(standard=50.0, soteacher=25.0)
    """Of the discrepancy (beta of Table 5)."""

    _stages: tuple[str, ...] = PrivateAttr()

    def start(self, context: RunContext) -> None:
        """Find the stages that both networks have."""
        self._stages = stages(context)

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the sum over stages of the squared discrepancy."""
        from soteacher.models.adapters import same_size

        losses = []
        for stage in self._stages:
            ours, theirs = map(channels, same_size(student[stage], teacher[stage]))
            losses.append(kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs))
        return torch.stack(losses).sum()


def channels(features: Tensor) -> Tensor:
    """The channels of (B, C, H, W) as vectors over pixels: (B, C, H * W), each of length 1."""
    return directions(features.flatten(2))


def kernel(first: Tensor, second: Tensor) -> Tensor:
    """Mean of (a . b)^2 over images and all pairs of channels of (B, C, N) and (B, D, N): ()."""
    return (first @ second.transpose(1, 2)).square().mean()
