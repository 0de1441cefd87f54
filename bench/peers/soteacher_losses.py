"""SoTeacher's two losses in their direct form, one layer after the other, for a plain loop.

The formulas are those of the paper and its authors (docs/deviations.md, A1 to A6), written as one
writes them first. The speed of soteacher's own forms is what they are compared with.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def lipschitz(weight: float, network: nn.Module) -> Tensor:
    """Return weight * the sum over layers of their Lipschitz constants, Tensor, ().

    A convolution counts with the sum of the absolute values of its kernel, a batch norm with its
    largest |gamma| / sqrt(running variance + eps), a linear layer with the largest sum of absolute
    values over one input.
    """
    total = torch.zeros(())
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            total = total + layer.weight.abs().sum()
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.running_var is not None
            total = total + (layer.weight.abs() / (layer.running_var + layer.eps).sqrt()).max()
        elif isinstance(layer, nn.Linear):
            total = total + layer.weight.abs().sum(dim=0).max()
    return weight * total


class Consistency:
    """The squared distance between predictions and their running means.

    The first epoch has no such loss; the steps that are timed are of the second.
    """

    def __init__(self, weight: float, n_images: int, n_classes: int) -> None:
        self._weight, self._means = weight, torch.zeros(n_images, n_classes)

    def __call__(self, logits: Tensor, indices: Tensor, network: nn.Module) -> Tensor:
        """Return the weighted loss, Tensor, (), and update the means of these rows."""
        probabilities = logits.softmax(dim=1)
        distance = (probabilities - self._means[indices]).square().sum(dim=1).mean()
        with torch.no_grad():
            self._means[indices] += (probabilities - self._means[indices]) / 2
        return self._weight * distance
