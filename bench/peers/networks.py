"""The networks as other code builds them: NCHW layout, and ShuffleNetV2's shuffle in that layout.

The layers and their weights are soteacher's; only the layout of memory and the shuffle differ.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soteacher.models import shufflenet_v2
from soteacher.models.shufflenet_v2 import Halves


def shuffled(left: Tensor, right: Tensor) -> Tensor:
    """Join two maps (B, C, H, W) and shuffle their channels in two groups, as ShuffleNet's paper.

    `soteacher.models.shufflenet_v2.shuffled` returns the same values, but in channels-last layout.
    """
    joined = torch.cat((left, right), dim=1)
    batch, channels, height, width = joined.shape
    groups = joined.view(batch, 2, channels // 2, height, width)
    return groups.transpose(1, 2).reshape(batch, channels, height, width)


class Block(nn.Module):
    """`shufflenet_v2.Block` with the shuffle in NCHW layout."""

    def __init__(self, block: shufflenet_v2.Block) -> None:
        super().__init__()
        self.right = block.right

    def forward(self, x: Tensor) -> tuple[Tensor, Halves]:
        """Return what `shufflenet_v2.Block` returns."""
        kept, x = x.chunk(2, dim=1)
        pre = self.right(x)
        return shuffled(kept, pre.relu()), (kept, pre)


class DownBlock(nn.Module):
    """`shufflenet_v2.DownBlock` with the shuffle in NCHW layout."""

    def __init__(self, block: shufflenet_v2.DownBlock) -> None:
        super().__init__()
        self.left, self.right = block.left, block.right

    def forward(self, x: Tensor) -> tuple[Tensor, Halves]:
        """Return what `shufflenet_v2.DownBlock` returns."""
        left, right = self.left(x), self.right(x)
        return shuffled(left.relu(), right.relu()), (left, right)


def contiguous(network: nn.Module) -> nn.Module:
    """Move a network's weights to NCHW layout, in place, and return it."""
    if isinstance(network, shufflenet_v2.ShuffleNetV2):
        for stage in network.stages:
            assert isinstance(stage, nn.ModuleList)
            for index, block in enumerate(stage):
                if isinstance(block, shufflenet_v2.DownBlock):
                    stage[index] = DownBlock(block)
                elif isinstance(block, shufflenet_v2.Block):
                    stage[index] = Block(block)
    return network.to(memory_format=torch.contiguous_format)
