"""L1 decay of the weights: Table 7 of the paper, Appendix F, "Classic regularization"."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from soteacher.core.registry import register
from soteacher.penalties.choices import Which
from soteacher.regularizers.base import Regularizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output


@register
class L1(Regularizer):
    """`weight` * `l1_sum` of the network in each step, in addition to the recipe's weight decay."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 10
    of_weights: ClassVar[bool] = True
    display_name: ClassVar[str] = "ℓ1"
    table7: ClassVar[bool] = True

    weight: float = Field(1e-5, ge=0)
    """Weight of the sum of absolute values (the paper: 1e-5)."""
    parameters: Which = "weights"
    """Parameters that are counted. `weights`: those of more than one dimension; `all`: biases and
    batch norms, too. The paper does not say which (A20)."""

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted sum."""
        from soteacher.penalties.l1 import l1_sum

        return {"l1": self.weight * l1_sum(network, self.parameters)}
