"""The sum of the 1-norms of many weights in few operations, for devices that launch kernels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

FOREACH = all(hasattr(torch, name) for name in ("_foreach_norm", "_foreach_sign", "_foreach_mul_"))
"""Whether this torch has operations on lists of tensors; releases before 2.1 lack one of them."""


class _SumOfNorms(torch.autograd.Function):
    """Sum of |w| over all entries of weights of one device and type, in five operations.

    Autograd's own form needs three operations per weight.
    """

    @staticmethod
    def forward(*weights: Tensor) -> Tensor:
        """Return the sum, ()."""
        return torch.stack(torch._foreach_norm(weights, 1)).sum()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the weights; torch.func needs this as a function of its own."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Return gradient * sign(w) for each weight; its own gradient to w is 0."""
        if torch.is_grad_enabled():  # create_graph=True
            return tuple(gradient * weight.sign() for weight in ctx.saved_tensors)
        signs = torch._foreach_sign(ctx.saved_tensors)
        torch._foreach_mul_(signs, gradient)
        return tuple(signs)

    @staticmethod
    def vmap(
        info: Any, dims: tuple[int | None, ...], *weights: Tensor
    ) -> tuple[Tensor, int | None]:
        """Return the sum of each of several networks, for `torch.func.vmap`."""
        sums = [
            weight.abs().sum() if dim is None else weight.movedim(dim, 0).abs().flatten(1).sum(1)
            for dim, weight in zip(dims, weights, strict=True)
        ]
        return sum(sums[1:], sums[0]), 0


def in_few_operations(weights: Sequence[Tensor]) -> bool:
    """Return whether `sum_of_norms` is the faster form for these weights: not on a CPU."""
    return FOREACH and all(weight.device.type != "cpu" for weight in weights)


def sum_of_norms(weights: Sequence[Tensor]) -> Tensor:
    """Return the sum of |w| over all entries of at least one weight, ().

    Its gradients have the bits of the sum of `torch.linalg.vector_norm(weight, 1)`; the sum itself
    may differ from that in its last digits, because its order differs.
    """
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for weight in weights:
        alike[weight.device, weight.dtype].append(weight)
    totals: list[Tensor] = [_SumOfNorms.apply(*group) for group in alike.values()]
    return totals[0] if len(totals) == 1 else added(totals)


def added(terms: Sequence[Tensor]) -> Tensor:
    """Return the sum of terms (), on the device of the first: a network may have several."""
    return torch.stack([term.to(terms[0].device) for term in terms]).sum()
