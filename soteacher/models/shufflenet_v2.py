"""ShuffleNetV2 1x: Ma et al., 2018, with a 1x1 stem and without max-pooling, for images of 32x32.

It is built as distillation benchmarks use it (RepDistiller, models/ShuffleNetv2.py). All weights
keep torch's default initialisation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from soteacher.models.output import Output

STEM, LAST = 24, 1024
STAGES = ((116, 4), (232, 8), (464, 4))
"""Channels and number of blocks of each stage; the first block of a stage shrinks the map."""
Halves = tuple[Tensor, Tensor]


def pointwise(into: int, out: int) -> list[nn.Module]:
    """Return a 1x1 convolution and its batch norm."""
    return [nn.Conv2d(into, out, 1, bias=False), nn.BatchNorm2d(out)]


def depthwise(channels: int, stride: int) -> list[nn.Module]:
    """Return a depthwise 3x3 convolution and its batch norm."""
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def path(into: int, half: int, stride: int) -> nn.Sequential:
    """Return the layers that compute half of a block's output, up to its last ReLU."""
    return nn.Sequential(
        *pointwise(into, half), nn.ReLU(), *depthwise(half, stride), *pointwise(half, half)
    )


class Shuffle(torch.autograd.Function):
    """Interleave the channels of two maps (B, C, H, W) into one (B, 2C, H, W): the channel shuffle.

    The channels are stacked in the last dimension, because all training uses the channels-last
    layout. Stacking them in dimension 1 would copy the map into the other layout, and the next
    convolution would copy it back.

    The backward pass copies each half's gradient into a map of its own. Autograd would return every
    second value of the whole gradient as a view, which is slow to read in the ReLU's backward pass
    (on a CPU, the copies halve its time).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(left: Tensor, right: Tensor) -> Tensor:
        """Return the joined map, (B, 2C, H, W)."""
        pair = torch.stack((left.permute(0, 2, 3, 1), right.permute(0, 2, 3, 1)), dim=4)
        return pair.flatten(3).permute(0, 3, 1, 2)  # (B, H, W, C, 2) -> (B, 2C, H, W)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: Halves, output: Tensor) -> None:
        """Keep nothing; torch.func needs this as a function of its own."""

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Halves:
        """Return the gradients of both halves, (B, C, H, W)."""
        pair = gradient.permute(0, 2, 3, 1).unflatten(3, (-1, 2))  # type: ignore[no-untyped-call]
        # (B, H, W, C, 2) -> (2, B, H, W, C) -> (2, B, C, H, W)
        left, right = pair.movedim(4, 0).contiguous().permute(0, 1, 4, 2, 3)
        return left, right

    @staticmethod
    def jvp(ctx: FunctionCtx, left: Tensor, right: Tensor) -> Tensor:
        """Return the derivative in the direction of two maps, in the forward mode."""
        return shuffled(left, right)


def shuffled(left: Tensor, right: Tensor) -> Tensor:
    """Return the channel shuffle of two maps; see `Shuffle`."""
    joined: Tensor = Shuffle.apply(left, right)
    return joined


class Block(nn.Module):
    """Half of the channels are kept, the other half pass 1x1, depthwise 3x3, 1x1 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.right = path(channels // 2, channels // 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Halves]:
        """Return the block's output, and its two halves before the last ReLU and the shuffle."""
        kept, x = x.chunk(2, dim=1)
        pre = self.right(x)
        return shuffled(kept, pre.relu()), (kept, pre)


class DownBlock(nn.Module):
    """All channels pass two paths of stride 2: the map has half the size and `out` channels."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.left = nn.Sequential(*depthwise(into, 2), *pointwise(into, out // 2))
        self.right = path(into, out // 2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Halves]:
        """Return the block's output, and its two halves before the last ReLU and the shuffle."""
        left, right = self.left(x), self.right(x)
        return shuffled(left.relu(), right.relu()), (left, right)


class ShuffleNetV2(nn.Module):
    """Features: stem, stage1..3, stage1..3_pre (in the order before the shuffle), pooled.

    A `_pre` feature joins the two halves of the stage's last block before its ReLU and its shuffle:
    first the half that is kept, then the half that is computed.
    """

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*pointwise(3, STEM))
        intos = (STEM, *(out for out, _ in STAGES))
        self.stages = nn.ModuleList(
            nn.ModuleList([DownBlock(into, out), *(Block(out) for _ in range(count - 1))])
            for into, (out, count) in zip(intos[:-1], STAGES, strict=True)
        )
        self.last = nn.Sequential(*pointwise(intos[-1], LAST))
        self.fc = nn.Linear(LAST, n_classes)

    def trunk(self) -> nn.ModuleList:
        """Return the layers that compute the feature maps, without the classifier."""
        return nn.ModuleList([self.stem, self.stages])

    def forward(self, x: Tensor) -> Output:
        """Classify images (B, 3, H, W) of any size.

        In training, B = 1 is an error if the last map is a single pixel: batch norms need more
        than one value per channel.
        """
        x = self.stem(x).relu()
        features = {"stem": x}
        for number, stage in enumerate(self.stages, start=1):
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x, halves = block(x)
            features |= {f"stage{number}": x, f"stage{number}_pre": torch.cat(halves, dim=1)}
        features["pooled"] = pooled = self.last(x).relu().mean(dim=(2, 3))  # -> (B, LAST)
        return Output(self.fc(pooled), features)


def build(n_classes: int) -> ShuffleNetV2:
    """Build ShuffleNetV2 1x."""
    return ShuffleNetV2(n_classes)
