"""The list of networks, available without torch: one entry per family.

A network's name gives its family and, if the family has several sizes, its size: `wrn_40_2` is a
Wide ResNet of depth 40 and width 2, `resnet32x4` a ResNet of depth 32 with four times the usual
channels. Networks from outside the package are looked up in `soteacher.models.outside`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from soteacher.core.errors import UserError, unknown
from soteacher.models.facts import STAGE, Facts, facts_of
from soteacher.models.layers import (
    Convolution,
    Layers,
    Norm,
    cifar_resnet,
    resnet,
    shufflenet_v2,
    wide_resnet,
)
from soteacher.models.outside import REVISION, names, outside
from soteacher.models.outside import build as build_outside

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
    """Return the family and sizes of a network of this package; raise `UserError` otherwise."""
    if (found := _find(name)) is None:
        raise _unknown(name)
    return found


def check_known(name: str) -> None:
    """Raise `UserError` if there is no network of this name, here or outside the package.

    Networks of timm and torchvision are only known to be one or not when they are measured.
    """
    if _find(name) is None and outside(name) is None:
        raise _unknown(name)


@cache
def _find(name: str) -> tuple[Family, tuple[int, ...]] | None:
    for family in FAMILIES:
        match = re.fullmatch(family.pattern, name)
        if match:
            sizes = tuple(int(group) for group in match.groups())
            if family.valid(*sizes):
                return family, sizes
    return None


def _unknown(name: str) -> UserError:
    known = [example for family in FAMILIES for example in family.examples]
    return UserError(unknown("network", name, [*known, *names()]))


def is_shipped(name: str) -> bool:
    """Return whether a name is that of a network of this package."""
    return name == TRUE_LABELS or _find(name) is not None


def revision(name: str) -> int:
    """Return the revision of a network, a part of its spec."""
    if (found := _find(name)) is not None:
        return found[0].revision
    check_known(name)
    return REVISION


def facts(name: str, height: int, width: int, n_classes: int) -> Facts:
    """Return a network's size and cost for images of this size.

    Those of a network of this package are counted without torch. Those of a network from outside
    are measured when they are first asked for (`soteacher.models.facts`).
    """
    if is_shipped(name):
        return _counted(name, height, width, n_classes)
    if (network := outside(name)) is None:
        raise _unknown(name)
    return facts_of(network, height, width, n_classes)


@cache
def _counted(name: str, height: int, width: int, n_classes: int) -> Facts:
    if name == TRUE_LABELS:
        return Facts(0, 0, (), 0, (), {}, True)
    family, sizes = find(name)
    layers = family.layers(*sizes)
    convolutions = [layer for layer in layers if isinstance(layer, Convolution)]
    last = layers[-1]
    assert isinstance(last, Norm)
    stages = [feature for feature in family.features if re.fullmatch(STAGE, feature)]
    shrinks = sorted({convolution.shrink for convolution in convolutions})[-len(stages) :]
    maps = {
        stage: (-(-height // shrink), -(-width // shrink))
        for stage, shrink in zip(stages, shrinks, strict=True)
    }
    return Facts(
        parameters=sum(layer.parameters for layer in layers) + (last.channels + 1) * n_classes,
        flops=sum(c.flops(height, width) for c in convolutions) + 2 * last.channels * n_classes,
        values=tuple(convolution.values(height, width) for convolution in convolutions),
        norms=len(layers) - len(convolutions),
        features=family.features,
        maps=maps,
        one_image=maps[stages[-1]] != (1, 1),  # the smallest map, and a batch norm gets it
    )


def parameters(name: str, height: int, width: int, n_classes: int) -> int:
    """Return the number of trainable parameters; those of tokens depend on the images' size."""
    return facts(name, height, width, n_classes).parameters


def flops(name: str, height: int, width: int, n_classes: int) -> int:
    """Return the FLOP of one image's forward pass: 2 per multiply-add of convolutions and linears.

    Biases, norms and activations are not counted, as is usual when a network's cost is stated.
    """
    return facts(name, height, width, n_classes).flops


def values(name: str, height: int, width: int, n_classes: int) -> tuple[int, ...]:
    """Return the number of values of each convolution's output for one image."""
    return facts(name, height, width, n_classes).values


def norms(name: str, height: int, width: int, n_classes: int) -> int:
    """Return the number of batch norms; of a network from outside, of all its norms."""
    return facts(name, height, width, n_classes).norms


def build(name: str, n_classes: int, size: tuple[int, int] = (32, 32)) -> nn.Module:
    """Build the network; torch's global generator initialises it (see `core.random.seeded`).

    size : height and width of the images, for networks from outside.
    """
    if _find(name) is None and (network := outside(name)) is not None:
        return build_outside(network, n_classes, *size)
    family, sizes = find(name)
    module = importlib.import_module(f"soteacher.models.{family.module}")
    return module.build(*sizes, n_classes)
