"""Wide residual networks of pre-activation blocks: Zagoruyko and Komodakis, 2016.

They are built as distillation benchmarks use them (RepDistiller): a shortcut has a 1x1 convolution
of the activated input only if the number of channels changes.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from soteacher.models.output import Output


class Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, and a shortcut."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(into)
        self.conv1 = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(into, out, 1, stride, bias=False) if into != out else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs of the block and of its first batch norm (before the ReLU)."""
        pre = self.bn1(x)
        active = pre.relu()
        out = self.conv2(self.bn2(self.conv1(active)).relu())
        return out + (x if self.shortcut is None else self.shortcut(active)), pre


class WideResNet(nn.Module):
    """Features: stem, stage1..3 (before the next batch norm), stage1..3_pre (after it), pooled."""

    def __init__(self, depth: int, width: int, n_classes: int) -> None:
        super().__init__()
        channels = (16, 16 * width, 32 * width, 64 * width)
        blocks = (depth - 4) // 6
        self.conv = nn.Conv2d(3, channels[0], 3, padding=1, bias=False)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                Block(into if block == 0 else out, out, stride if block == 0 else 1)
                for block in range(blocks)
            )
            for into, out, stride in zip(channels[:-1], channels[1:], (1, 2, 2), strict=True)
        )
        self.bn = nn.BatchNorm2d(channels[-1])
        self.fc = nn.Linear(channels[-1], n_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
                nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
        nn.init.zeros_(self.fc.bias)

    def trunk(self) -> nn.ModuleList:
        """Return the layers that compute the feature maps, without the classifier."""
        return nn.ModuleList([self.conv, self.stages])

    def forward(self, x: Tensor) -> Output:
        """Classify images (B, 3, H, W) of any size that is a multiple of 4."""
        x = self.conv(x)
        features = {"stem": x}
        for number, stage in enumerate(self.stages):
            assert isinstance(stage, nn.ModuleList)
            for index, block in enumerate(stage):
                x, pre = block(x)
                if index == 0 and number > 0:  # this batch norm belongs to the stage before
                    features[f"stage{number}_pre"] = pre
            features[f"stage{number + 1}"] = x
        pre = self.bn(x)
        pooled = pre.relu().mean(dim=(2, 3))  # (B, C, H, W) -> (B, C)
        features |= {"stage3_pre": pre, "pooled": pooled}
        return Output(self.fc(pooled), features)


def build(depth: int, width: int, n_classes: int) -> WideResNet:
    """Build WRN-depth-width; depth = 6n + 4."""
    return WideResNet(depth, width, n_classes)
