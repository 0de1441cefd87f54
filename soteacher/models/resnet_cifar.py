"""Residual networks of three stages for images of 32x32: He et al., 2016, Section 4.2, but wider.

They are built as distillation benchmarks use them (RepDistiller, models/resnet.py): `resnet32x4`
has four times the channels of the original, and its stem has half the channels of the first stage.
"""

from __future__ import annotations

from soteacher.models.resnet import ResNet


def build(depth: int, width: int, n_classes: int) -> ResNet:
    """Build the ResNet of this depth and width; depth = 6n + 2."""
    stages = (16 * width, 32 * width, 64 * width)
    return ResNet(8 * width, stages, [(depth - 2) // 6] * 3, n_classes)
