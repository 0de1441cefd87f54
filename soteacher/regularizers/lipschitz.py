"""Lipschitz regularization (LR) of the teacher: SoTeacher, Section 4 and Appendix C.

The formula is `soteacher.penalties.lipschitz.lipschitz_sum`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.penalties.choices import Norm
from soteacher.regularizers.base import Regularizer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output

Weight = Annotated[float, Field(ge=0)]


@register
class Lipschitz(Regularizer):
    """`weight` * `lipschitz_sum` of the network in each step, after the forward pass."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 59
    of_weights: ClassVar[bool] = True

    weight: Weight | dict[str, Weight] = 1e-5
    """Weight of the Lipschitz sum, lambda_LR (the paper: 1e-5 on CIFAR-100, 1e-6 on Tiny-ImageNet):
    one number, or a mapping from data set to weight."""
    norm: Norm = "entrywise"
    """Norm of a convolution. `entrywise`, as in the authors' code, is the sum of all |W| (L1
    decay); `induced`, as in the paper's text after Gouk et al., is the largest sum of one input
    channel; `induced_strided` is the same, exact for strided layers. The last two are about 70
    times smaller than the entrywise sum on an untrained WRN-40-2, so they need a larger weight."""

    def data_sets(self) -> tuple[str, ...]:
        """Return the keys of the weight, if it is a mapping."""
        return tuple(self.weight) if isinstance(self.weight, dict) else ()

    def for_data(self, data: str, where: str) -> Self:
        """Return the regularizer with the weight of this data set, if the weight is a mapping."""
        if not isinstance(self.weight, dict):
            return self
        if data not in self.weight:
            given = ", ".join(sorted(self.weight))
            raise UserError(
                f"{where}.weight: no weight for the data set '{data}'; it is given for: {given}"
            )
        return self.model_copy(update={"weight": self.weight[data]})

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted sum; the running variances have already seen this batch."""
        from soteacher.penalties.lipschitz import lipschitz_sum

        return {"lipschitz": self.weight * lipschitz_sum(network, self.norm)}
