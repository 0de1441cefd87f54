"""The L1 penalty: Table 7 of the paper, Appendix F, "Classic regularization"."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from soteacher.core.errors import UserError, one_of
from soteacher.penalties.checks import at_least_float32, check_network, checked_weight
from soteacher.penalties.choices import Which
from soteacher.penalties.entrywise import added, in_few_operations, sum_of_norms


class L1Penalty(nn.Module):
    """weight * `l1_sum` of a network.

    parameters : `weights` (the parameters of more than one dimension) or `all`.
    """

    def __init__(self, weight: float = 1e-5, parameters: Which = "weights") -> None:
        super().__init__()
        self.weight, self.which = (
            checked_weight(weight),
            one_of("choice of parameters", parameters, Which),
        )

    def forward(self, network: nn.Module) -> Tensor:
        """Return the weighted sum, ()."""
        return self.weight * l1_sum(network, self.which)

    def extra_repr(self) -> str:
        """Return the settings, as `print` shows them."""
        return f"weight={self.weight}, parameters={self.which!r}"


def l1_sum(network: nn.Module, which: Which = "weights") -> Tensor:
    """Sum of |w| over the trainable parameters of more than one dimension, or over all of them.

    which : `weights`, the parameters of more than one dimension (those of convolutions, linear
        layers and embeddings, but not biases and batch norms); or `all`.

    A parameter that several layers share counts once, and a frozen one does not count.

    Returns Tensor, (), with gradients.   Raises UserError if there is no such parameter.
    """
    one_of("choice of parameters", which, Which)
    check_network(network)
    parts = [p for p in network.parameters() if p.requires_grad and (p.ndim > 1 or which == "all")]
    if not parts:
        raise UserError(
            "the network has no parameter that L1 decay counts: expected a trainable parameter"
            + ("" if which == "all" else " of more than one dimension")
            + "; remove the term for this network"
        )
    weights = [at_least_float32(part) for part in parts]
    if in_few_operations(weights):
        return sum_of_norms(weights)
    return added([torch.linalg.vector_norm(weight, 1) for weight in weights])
