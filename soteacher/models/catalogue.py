"""What networks there are, told without torch: one row a family.

A network's name says its family and its size: `wrn_40_2` is a Wide ResNet of depth 40 and width 2.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from soteacher.errors import UserError, unknown

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Family:
    """Networks of one construction, in one file of this package."""

    module: str
    pattern: str
    """Full match of the names; its groups are whole numbers, the arguments of what follows."""
    revision: int
    """Part of every spec: a new number where the network's function or initialisation changes."""
    features: tuple[str, ...]
    valid: Callable[..., bool]
    parameters: Callable[..., int]
    """(sizes..., n_classes) to the number of trainable parameters."""
    flops: Callable[..., int]
    """(sizes..., height, width, n_classes) to what `flops` below counts."""
    examples: tuple[str, ...]


def _wrn_parameters(depth: int, width: int, n_classes: int) -> int:
    blocks = (depth - 4) // 6
    total, channels = 3 * 16 * 9, 16
    for out in (16 * width, 32 * width, 64 * width):
        for block in range(blocks):
            into = channels if block == 0 else out
            total += 2 * into + 2 * out + 9 * into * out + 9 * out * out
            total += into * out if into != out else 0
        channels = out
    return total + 2 * channels + (channels + 1) * n_classes


def _wrn_flops(depth: int, widen: int, height: int, width: int, n_classes: int) -> int:
    blocks = (depth - 4) // 6
    total, channels = _convolution(3, 16, 3, height, width), 16
    for out, stride in ((16 * widen, 1), (32 * widen, 2), (64 * widen, 2)):
        height, width = -(-height // stride), -(-width // stride)
        for block in range(blocks):
            into = channels if block == 0 else out
            total += _convolution(into, out, 3, height, width)
            total += _convolution(out, out, 3, height, width)
            total += _convolution(into, out, 1, height, width) if into != out else 0
        channels = out
    return total + 2 * channels * n_classes


def _convolution(into: int, out: int, kernel: int, height: int, width: int) -> int:
    """FLOP of a convolution whose output has this height and width."""
    return 2 * into * out * kernel * kernel * height * width


THREE_STAGES = ("stage1", "stage1_pre", "stage2", "stage2_pre", "stage3", "stage3_pre")
FAMILIES = (
    Family(
        module="wrn",
        pattern=r"wrn_([1-9]\d*)_([1-9]\d*)",
        revision=1,
        features=("stem", *THREE_STAGES, "pooled"),
        valid=lambda depth, width: depth >= 10 and (depth - 4) % 6 == 0,
        parameters=_wrn_parameters,
        flops=_wrn_flops,
        examples=("wrn_10_1", "wrn_10_2", "wrn_16_1", "wrn_16_2", "wrn_40_1", "wrn_40_2"),
    ),
)


def find(name: str) -> tuple[Family, tuple[int, ...]]:
    """The family of a name and the sizes in it; `UserError` if there is no such network."""
    for family in FAMILIES:
        match = re.fullmatch(family.pattern, name)
        if match:
            sizes = tuple(int(group) for group in match.groups())
            if family.valid(*sizes):
                return family, sizes
    known = [example for family in FAMILIES for example in family.examples]
    raise UserError(unknown("network", name, known))


def parameters(name: str, n_classes: int) -> int:
    """Number of trainable parameters."""
    family, sizes = find(name)
    return family.parameters(*sizes, n_classes)


def flops(name: str, height: int, width: int, n_classes: int) -> int:
    """FLOP of one image's forward pass: 2 a multiply-add of its convolutions and linear layers.

    Nothing else counts, no bias, norm or activation: the usual way to state a network's cost.
    """
    family, sizes = find(name)
    return family.flops(*sizes, height, width, n_classes)


def build(name: str, n_classes: int) -> nn.Module:
    """The network, initialised from torch's global generator (`keys.seeded`)."""
    family, sizes = find(name)
    module = importlib.import_module(f"soteacher.models.{family.module}")
    return module.build(*sizes, n_classes)
