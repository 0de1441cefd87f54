"""Residual networks of basic blocks: He et al., 2016, with a 3x3 stem and without max-pooling.

ResNet-18 and ResNet-34 as distillation benchmarks use them on images of 64x64 (RepDistiller,
models/resnetv2.py); `resnet_cifar` builds the smaller ResNets of three stages from the same blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from soteacher.models.output import Output


class Block(nn.Module):
    """Two 3x3 convolutions with batch norms, and a shortcut; ReLU after the sum.

    The shortcut is a 1x1 convolution with batch norm if the number of channels changes; the map
    shrinks only in such blocks.
    """

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.shortcut = None
        if into != out:
            projection = nn.Conv2d(into, out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output, and the sum before its last ReLU."""
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        pre = out + (x if self.shortcut is None else self.shortcut(x))
        return pre.relu(), pre


class ResNet(nn.Module):
    """Features: stem, each stage, each stage_pre (the sum before its last ReLU), pooled."""

    def __init__(
        self, stem: int, stages: Sequence[int], blocks: Sequence[int], n_classes: int
    ) -> None:
        """`stages` are channels, `blocks` numbers of blocks; all stages but the first shrink."""
        super().__init__()
        self.conv = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(stem)
        self.stages = nn.ModuleList(
            nn.ModuleList(
                Block(into if block == 0 else out, out, stride if block == 0 else 1)
                for block in range(count)
            )
            for into, out, count, stride in zip(
                (stem, *stages[:-1]), stages, blocks, (1, *[2] * (len(stages) - 1)), strict=True
            )
        )
        self.fc = nn.Linear(stages[-1], n_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def trunk(self) -> nn.ModuleList:
        """Return the layers that compute the feature maps, without the classifier."""
        return nn.ModuleList([self.conv, self.bn, self.stages])

    def forward(self, x: Tensor) -> Output:
        """Classify images (B, 3, H, W) of any size.

        In training, B = 1 is an error if the last map is a single pixel: batch norms need more
        than one value per channel.
        """
        x = self.bn(self.conv(x)).relu()
        features = {"stem": x}
        for number, stage in enumerate(self.stages, start=1):
            assert isinstance(stage, nn.ModuleList)
            for block in stage:
                x, pre = block(x)
            features |= {f"stage{number}": x, f"stage{number}_pre": pre}
        features["pooled"] = pooled = x.mean(dim=(2, 3))  # (B, C, H, W) -> (B, C)
        return Output(self.fc(pooled), features)


def build(depth: int, n_classes: int) -> ResNet:
    """Build ResNet-18 or ResNet-34."""
    blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth]
    return ResNet(64, (64, 128, 256, 512), blocks, n_classes)
