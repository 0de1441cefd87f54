"""Lipschitz regularization (LR) of the teacher: SoTeacher, Section 4 and Appendix C.

The formula is `soteacher.penalties.lipschitz.lipschitz_sum`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from soteacher.core.registry import register
from soteacher.penalties.choices import Norm
from soteacher.regularizers.base import Regularizer, Weight

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output


@register
class Lipschitz(Regularizer):
    """`weight` * `lipschitz_sum` of the network in each step, after the forward pass."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 59
    of_weights: ClassVar[bool] = True
    per_data: ClassVar[tuple[str, ...]] = ("weight",)

    weight: Weight | dict[str, Weight] = 1e-5
    """Weight of the Lipschitz sum, lambda_LR (the paper: 1e-5 on CIFAR-100, 1e-6 on Tiny-ImageNet):
    one number, or a mapping from data set to weight."""
    norm: Norm = "entrywise"
    """Norm of a convolution. `entrywise`, as in the authors' code, is the sum of all |W| (L1
    decay); `induced`, as in the paper's text after Gouk et al., is the largest sum of one input
    channel; `induced_strided` is the same, exact for strided layers. The last two are about 70
    times smaller than the entrywise sum on an untrained WRN-40-2, so they need a larger weight."""

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return the weighted sum; the running variances have already seen this batch."""
        from soteacher.penalties.lipschitz import lipschitz_sum

        return {"lipschitz": self.weight * lipschitz_sum(network, self.norm)}
