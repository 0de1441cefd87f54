"""The list of networks, available without torch: one entry per family.

A network's name gives its family and, if the family has several sizes, its size: `wrn_40_2` is a
Wide ResNet of depth 40 and width 2, `resnet32x4` a ResNet of depth 32 with four times the usual
channels.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from soteacher.core.errors import UserError, unknown
from soteacher.models.layers import (
    Convolution,
    Layers,
    Norm,
    cifar_resnet,
    resnet,
    shufflenet_v2,
    wide_resnet,
)

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Family:
    """A family of networks with one architecture, defined in one file of this package."""

    module: str
    pattern: str
    """Pattern of the names. Its groups are whole numbers: the arguments of `valid` and `layers`.
    They have at most four digits, so that every network's layers can be listed."""
    revision: int
    """Part of every spec. Increase it if the network's function or initialisation changes."""
    features: tuple[str, ...]
    valid: Callable[..., bool]
    layers: Callable[..., Layers]
    """Function from the sizes to the layers that are counted, without the last, linear layer."""
    examples: tuple[str, ...]
    description: str
    """One line for users who choose a network."""


THREE_STAGES = ("stage1", "stage1_pre", "stage2", "stage2_pre", "stage3", "stage3_pre")
FAMILIES = (
    Family(
        module="wrn",
        pattern=r"wrn_([1-9][0-9]{0,3})_([1-9][0-9]{0,3})",
        revision=1,
        features=("stem", *THREE_STAGES, "pooled"),
        valid=lambda depth, width: depth >= 10 and (depth - 4) % 6 == 0,
        layers=wide_resnet,
        examples=("wrn_10_1", "wrn_10_2", "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
        description="Wide ResNets wrn_DEPTH_WIDTH for images of 32x32 pixels or smaller.",
    ),
    Family(
        module="resnet_cifar",
        pattern=r"resnet([1-9][0-9]{0,3})x([1-9][0-9]{0,3})",
        revision=1,
        features=("stem", *THREE_STAGES, "pooled"),
        valid=lambda depth, width: depth >= 8 and (depth - 2) % 6 == 0,
        layers=cifar_resnet,
        examples=("resnet8x4", "resnet32x4"),
        description="CIFAR ResNets resnetDEPTHxWIDTH of three stages.",
    ),
    Family(
        module="resnet",
        pattern=r"resnet(18|34)",
        revision=1,
        features=("stem", *THREE_STAGES, "stage4", "stage4_pre", "pooled"),
        valid=lambda depth: True,
        layers=resnet,
        examples=("resnet18", "resnet34"),
        description="ResNets of four stages with a 3x3 stem, for images of 64x64 pixels.",
    ),
    Family(
        module="shufflenet_v2",
        pattern="shufflenet_v2",
        revision=1,
        features=("stem", *THREE_STAGES, "pooled"),
        valid=lambda: True,
        layers=shufflenet_v2,
        examples=("shufflenet_v2",),
        description="ShuffleNetV2 1x with a 1x1 stem.",
    ),
)


TRUE_LABELS = "true_labels"
"""The name that stands for a network where the true label distributions are the predictions. It has
no layers, so its size and its cost are 0; nobody can build it, and no pair can name it."""


def find(name: str) -> tuple[Family, tuple[int, ...]]:
    """Return a network's family and sizes; raise `UserError` if there is no such network."""
    for family in FAMILIES:
        match = re.fullmatch(family.pattern, name)
        if match:
            sizes = tuple(int(group) for group in match.groups())
            if family.valid(*sizes):
                return family, sizes
    known = [example for family in FAMILIES for example in family.examples]
    raise UserError(unknown("network", name, known))


def _layers(name: str) -> Layers:
    """Return the layers that are counted, without the last, linear layer."""
    if name == TRUE_LABELS:
        return []
    family, sizes = find(name)
    return family.layers(*sizes)


@cache
def parameters(name: str, n_classes: int) -> int:
    """Return the number of trainable parameters."""
    if name == TRUE_LABELS:
        return 0
    *before, last = _layers(name)
    assert isinstance(last, Norm)
    counted = sum(layer.parameters for layer in (*before, last))
    return counted + (last.channels + 1) * n_classes


@cache
def flops(name: str, height: int, width: int, n_classes: int) -> int:
    """Return the FLOP of one image's forward pass: 2 per multiply-add of convolutions and linears.

    Biases, norms and activations are not counted, as is usual when a network's cost is stated.
    """
    if name == TRUE_LABELS:
        return 0
    *before, last = _layers(name)
    assert isinstance(last, Norm)
    return sum(layer.flops(height, width) for layer in before) + 2 * last.channels * n_classes


@cache
def values(name: str, height: int, width: int) -> tuple[int, ...]:
    """Return the number of values of each convolution's output for one image."""
    convolutions = [layer for layer in _layers(name) if isinstance(layer, Convolution)]
    return tuple(convolution.values(height, width) for convolution in convolutions)


@cache
def norms(name: str) -> int:
    """Return the number of batch norms."""
    return sum(isinstance(layer, Norm) for layer in _layers(name))


def build(name: str, n_classes: int) -> nn.Module:
    """Build the network; torch's global generator initialises it (see `core.random.seeded`)."""
    family, sizes = find(name)
    module = importlib.import_module(f"soteacher.models.{family.module}")
    return module.build(*sizes, n_classes)
