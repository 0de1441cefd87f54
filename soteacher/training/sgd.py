"""Stochastic gradient descent with momentum and weight decay, in torch's fused kernel."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd


class SGD:
    """The same updates as `torch.optim.SGD(fused=True)`, bit for bit.

    Creating any class of `torch.optim` imports torch's compiler, which takes longer than all other
    imports of soteacher, and 150 MB. The function `torch.optim.sgd.sgd` does not.

    For a gradient g and a weight w: v = g + weight_decay * w in the first step, then
    v = momentum * v + g + weight_decay * w; and w = w - lr * v.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], momentum: float, weight_decay: float
    ) -> None:
        self.parameters = list(parameters)
        self.momentum, self.weight_decay = momentum, weight_decay
        self.lr = 0.0
        """The learning rate of the next step."""
        self.momenta: dict[nn.Parameter, Tensor] = {}
        """The v of each parameter that was updated; empty without momentum. The kernel requires the
        strides of the gradient."""

    def zero_grad(self) -> None:
        """Delete all gradients; a parameter without a gradient is not updated."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have gradients."""
        updated = [parameter for parameter in self.parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in updated if parameter.grad is not None]
        momenta = [self.momenta.get(parameter) for parameter in updated] if self.momentum else []
        if any(momentum is not None for momentum in momenta):
            # some parameters may have had no gradient so far; the kernel takes no v for all or none
            momenta = [
                torch.zeros_like(gradient) if momentum is None else momentum
                for momentum, gradient in zip(momenta, gradients, strict=True)
            ]
        sgd(
            [*updated],
            gradients,
            momenta,
            fused=True,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            dampening=0,
            nesterov=False,
            maximize=False,
        )
        # the first step puts new tensors into the list
        self.momenta.update(
            (parameter, momentum)
            for parameter, momentum in zip(updated, momenta, strict=False)
            if momentum is not None
        )
