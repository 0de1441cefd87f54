"""Lipschitz regularization (LR) of the teacher: SoTeacher, Section 4 and Appendix C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field

from soteacher.errors import UserError, unknown
from soteacher.lazy import torch
from soteacher.registry import register
from soteacher.regularizers.base import Regularizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.data.stream import Batch
    from soteacher.models.output import Output

Weight = Annotated[float, Field(ge=0)]


def lipschitz_sum(network: nn.Module) -> Tensor:
    """Sum over the trainable layers of a bound on each layer's Lipschitz constant.

    l_LR = sum_conv sum |W|  +  sum_bn max_c |gamma_c| / sqrt(var_c + eps)
         + sum_linear max_j sum_k |W_kj|

    as the authors' code has it (shwinshaker/SoTeacher, helper/lip_util.py). The linear term is
    the exact norm induced by the 1-norm (largest column sum); the convolutional one is the sum
    over all entries, an upper bound of the induced norm that the paper's text speaks of.
    `var` is the running variance, a constant: no gradient flows through it. Biases have no part.

    Returns
    -------
    Tensor, (), with gradients to the weights.
    """
    parts = []
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            parts.append(torch.linalg.vector_norm(layer.weight, 1))
        elif isinstance(layer, torch.nn.BatchNorm2d):
            parts.append((layer.weight.abs() / (layer.running_var + layer.eps).sqrt()).max())
        elif isinstance(layer, torch.nn.Linear):
            parts.append(layer.weight.abs().sum(dim=0).max())  # (K, J) -> (J,) -> ()
    return torch.stack(parts).sum()


@register
class Lipschitz(Regularizer):
    """`weight` * `lipschitz_sum` of the network, once a step, after the forward pass."""

    weight: Weight | dict[str, Weight] = 1e-5
    """lambda_LR (the paper: 1e-5 on CIFAR-100, 1e-6 on Tiny-ImageNet); may be a map by data set."""

    def data_sets(self) -> tuple[str, ...]:
        """The keys of the weight, if it is a map."""
        return tuple(self.weight) if isinstance(self.weight, dict) else ()

    def for_data(self, data: str, where: str) -> Self:
        """The weight of that data set, if the weight is a map."""
        if not isinstance(self.weight, dict):
            return self
        if data not in self.weight:
            raise UserError(f"{where}.weight: {unknown('data set', data, self.weight)}")
        return self.model_copy(update={"weight": self.weight[data]})

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted sum; the running variances have already seen this batch."""
        return {"lipschitz": self.weight * lipschitz_sum(network)}
