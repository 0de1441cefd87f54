"""The layers with parameters of each family, listed without torch so that they can be counted.

Every list ends with the batch norm of the channels that are pooled and classified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Convolution(NamedTuple):
    """A square convolution without bias."""

    into: int
    out: int
    kernel: int
    shrink: int
    """Ratio of the image's height and width to those of the output."""
    groups: int = 1

    @property
    def parameters(self) -> int:
        """The number of weights."""
        return self.out * self.into // self.groups * self.kernel**2

    def flops(self, height: int, width: int) -> int:
        """Return the FLOP on an image of this size, 2 per multiply-add, padded to lose no pixel."""
        return 2 * self.parameters * self._places(height, width)

    def values(self, height: int, width: int) -> int:
        """Return the number of values of the output for an image of this size."""
        return self.out * self._places(height, width)

    def _places(self, height: int, width: int) -> int:
        return -(-height // self.shrink) * -(-width // self.shrink)


class Norm(NamedTuple):
    """A batch norm: one scale and one shift per channel."""

    channels: int

    @property
    def parameters(self) -> int:
        """The number of scales and shifts."""
        return 2 * self.channels


Layers = list[Convolution | Norm]


def wide_resnet(depth: int, width: int) -> Layers:
    """List the layers of WRN-depth-width: batch norms come before the 3x3 convolutions."""
    layers: Layers = [Convolution(3, 16, 3, 1)]
    into, shrink = 16, 1
    for out, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
        shrink *= stride
        for _ in range((depth - 4) // 6):
            layers += [Norm(into), Convolution(into, out, 3, shrink)]
            layers += [Norm(out), Convolution(out, out, 3, shrink)]
            layers += [Convolution(into, out, 1, shrink)] if into != out else []
            into = out
    return [*layers, Norm(into)]


def cifar_resnet(depth: int, width: int) -> Layers:
    """List the layers of a ResNet of three stages: 8 width channels, then 16, 32 and 64 width."""
    return _resnet(8 * width, (16 * width, 32 * width, 64 * width), [(depth - 2) // 6] * 3)


def resnet(depth: int) -> Layers:
    """List the layers of ResNet-18 or ResNet-34 with a 3x3 stem."""
    return _resnet(64, (64, 128, 256, 512), {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth])


def _resnet(stem: int, stages: Sequence[int], blocks: Sequence[int]) -> Layers:
    layers = _normed(3, stem, 3, 1)
    into = stem
    for stage, (out, count) in enumerate(zip(stages, blocks, strict=True)):
        shrink = 2**stage
        for _ in range(count):
            layers += _normed(into, out, 1, shrink) if into != out else []
            layers += _normed(into, out, 3, shrink) + _normed(out, out, 3, shrink)
            into = out
    return layers


def shufflenet_v2() -> Layers:
    """List the layers of ShuffleNetV2 1x with a 1x1 stem.

    Each stage begins with a block of two paths that shrink the map.
    """
    layers = _normed(3, 24, 1, 1)
    into = 24
    for stage, (out, count) in enumerate(((116, 4), (232, 8), (464, 4))):
        half, before, shrink = out // 2, 2**stage, 2 ** (stage + 1)
        layers += _normed(into, into, 3, shrink, groups=into) + _normed(into, half, 1, shrink)
        layers += _normed(into, half, 1, before)
        layers += _normed(half, half, 3, shrink, groups=half) + _normed(half, half, 1, shrink)
        for _ in range(count - 1):
            layers += _normed(half, half, 1, shrink)
            layers += _normed(half, half, 3, shrink, groups=half) + _normed(half, half, 1, shrink)
        into = out
    return layers + _normed(into, 1024, 1, 8)


def _normed(into: int, out: int, kernel: int, shrink: int, groups: int = 1) -> Layers:
    return [Convolution(into, out, kernel, shrink, groups), Norm(out)]
