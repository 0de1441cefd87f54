"""L1 decay of the weights: Table 7 of the paper, Appendix F, "Classic regularization"."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from soteacher.errors import UserError, one_of
from soteacher.lazy import torch
from soteacher.registry import register
from soteacher.regularizers.base import Regularizer, wide

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.data.stream import Batch
    from soteacher.models.output import Output

Which = Literal["weights", "all"]


def l1_sum(network: nn.Module, which: Which = "weights") -> Tensor:
    """Sum of |w| over the trainable parameters of more than one dimension, or over all of them.

    which : `weights`, all of more than one dimension: of convolutions, linear layers, embeddings,
        and not biases and batch norms; or `all`.

    Returns Tensor, (), with gradients.   Raises UserError if there is no such parameter.
    """
    one_of("choice of parameters", which, Which)
    parts = [p for p in network.parameters() if p.requires_grad and (p.ndim > 1 or which == "all")]
    if not parts:
        raise UserError(
            "the network has no parameter that L1 decay counts: expected a trainable one"
            + ("" if which == "all" else " of more than one dimension")
            + "; leave the term out for this network"
        )
    return torch.stack([torch.linalg.vector_norm(wide(part), 1) for part in parts]).sum()


@register
class L1(Regularizer):
    """`weight` * `l1_sum` of the network, once a step, beside the recipe's weight decay."""

    label: ClassVar[str] = "ℓ1"
    table7: ClassVar[bool] = True

    weight: float = Field(1e-5, ge=0)
    """Of the sum of absolute values (the paper: 1e-5)."""
    parameters: Which = "weights"
    """`weights`: those of more than one dimension; `all`: biases and batch norms, too. The paper
    does not say (A20)."""

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted sum."""
        return {"l1": self.weight * l1_sum(network, self.parameters)}
