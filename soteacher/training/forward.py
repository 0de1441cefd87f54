"""The forward pass of a network in training, in the precision of its run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soteacher.core.precisions import BFLOAT16
from soteacher.models.output import Output


def forward(network: nn.Module, images: Tensor, precision: str) -> Output:
    """Return the network's output for images (B, 3, H, W); logits and features are float32.

    With the precision bfloat16, autocast lets convolutions and linear layers multiply bfloat16
    copies of their inputs and weights. A batch norm reads and returns bfloat16, but its weights,
    its statistics and its arithmetic are float32. Loss terms never see bfloat16: everything outside
    this function is float32, also the modules of distillers.
    """
    if precision != BFLOAT16:
        output: Output = network(images)
        return output
    with torch.autocast(images.device.type, torch.bfloat16):
        logits, features = network(images)
    return Output(logits.float(), {name: value.float() for name, value in features.items()})
