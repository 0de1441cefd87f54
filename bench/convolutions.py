"""The rate of single convolutions: what a training step could reach on this CPU."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from soteacher.models import catalogue
from soteacher.training import device as devices

SCAN = 0.05
"""Seconds of CPU time for which each convolution is tried."""
FORWARD_AND_BACKWARD = 3
"""Products of a forward and a backward pass, in forward passes: this is exact for a convolution
whose images need a gradient, too."""


@dataclass
class LoneConvolution:
    """A convolution of a network, alone: forward and backward, in channels-last layout."""

    layer: nn.Conv2d
    images: Tensor
    """The layer's input, (B, C, H, W); it needs a gradient."""

    def __post_init__(self) -> None:
        with torch.no_grad():
            self._gradient = torch.ones_like(self.layer(self.images))
        values = self._gradient.numel() * self.layer.weight[0].numel()
        self.flop = 2 * FORWARD_AND_BACKWARD * values
        """FLOP of one step."""

    def __str__(self) -> str:
        layer, (_, into, height, width) = self.layer, self.images.shape
        side = layer.kernel_size[0]
        groups = f", {layer.groups} groups" if layer.groups > 1 else ""
        channels = f"{into} to {layer.out_channels} channels"
        return f"{side}x{side}, {channels}{groups}, maps of {height}x{width}"

    def enter(self) -> None:
        """Set torch up as a job on one thread does."""
        devices.set_up("cpu", 1, "float32", deterministic=True)

    def steps(self, count: int) -> None:
        """Do some forward and backward passes."""
        for _ in range(count):
            self.layer.weight.grad = self.images.grad = None
            self.layer(self.images).backward(self._gradient)


def best(network: str, n_classes: int, images: Tensor) -> tuple[LoneConvolution, int]:
    """Return the network's convolution with the highest rate, and its steps per 0.2 s.

    images : one batch, (B, 3, H, W).
    """
    rates: list[tuple[float, int, LoneConvolution]] = []
    for number, convolution in enumerate(_convolutions(network, n_classes, images)):
        convolution.enter()
        convolution.steps(1)
        done, started = 0, time.process_time()
        while (spent := time.process_time() - started) < SCAN:
            convolution.steps(1)
            done += 1
        rates.append((done * convolution.flop / spent, number, convolution))
    rate, _, fastest = max(rates)
    return fastest, max(1, round(0.2 * rate / fastest.flop))


def _convolutions(network: str, n_classes: int, images: Tensor) -> list[LoneConvolution]:
    """Return the distinct convolutions of a network with inputs of the sizes that they get."""
    built = catalogue.build(network, n_classes).to(memory_format=torch.channels_last)
    layers = [layer for layer in built.modules() if isinstance(layer, nn.Conv2d)]
    inputs: dict[nn.Conv2d, torch.Size] = {}

    def note(layer: nn.Conv2d, given: tuple[Tensor, ...]) -> None:
        inputs[layer] = given[0].shape

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    with torch.no_grad():
        built(images)
    for hook in hooks:
        hook.remove()
    found: dict[str, LoneConvolution] = {}
    for layer in layers:
        values = torch.randn(inputs[layer]).contiguous(memory_format=torch.channels_last)
        lone = LoneConvolution(layer, values.requires_grad_())
        found.setdefault(f"{lone} {layer.stride}", lone)
    return [*found.values()]
