"""Activation boundaries (AB): Heo et al., Knowledge Transfer via Distillation of Activation
Boundaries Formed by Hidden Neurons, 2019.

In a first stage, the student learns which of the teacher's neurons are active. With t the teacher's
map before its ReLU, s the output of a connector for the student's map, and margin 1, the loss is

    sum over stages l = 1, ..., L of 2^(l - L) * 0.003 / B * sum over entries of
        (s + 1)^2 where t <= 0 and s > -1,   (s - 1)^2 where t > 0 and s <= 1

for 30 epochs. This stage trains the connectors and the layers that compute the student's maps, at
the initial learning rate of the student's recipe; the rest of the student is in eval mode. In the
main stage, the student is trained with cross-entropy and KD alone.

This follows the code that SoTeacher's authors ran (RepDistiller). The weight of Table 5 therefore
has no effect: the first stage has no weight, and the main stage has no loss of AB. A connector is
the identity if both maps have the same shape, otherwise a convolution and a batch norm. One thing
differs: RepDistiller's WRN computes some batch norms twice in a step and so updates their running
statistics twice, here each is computed once (A35 in docs/deviations.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.core.errors import UserError
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import Distiller, MapSizes, Table5, Weight, stages
from soteacher.terms import Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Output
    from soteacher.terms import RunContext

SCALE = 3 / 1000


@register
class AB(Distiller):
    """A first stage matches activation boundaries; cross-entropy and KD follow."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 0
    display_name: ClassVar[str] = "AB"
    needs: ClassVar[tuple[str, ...]] = ("stage1_pre",)
    remark: ClassVar[str] = (
        "this weight has no effect, here as in the authors' code: the method's loss is that of a "
        "first stage alone, unweighted"
    )

    weight: Weight = Table5(standard=1.0, soteacher=0.5)
    """Weight of AB in Table 5; it has no effect, as in the authors' code."""
    prepare_epochs: int = Field(30, ge=1)
    """Number of epochs of the first stage."""
    margin: float = Field(1.0, ge=0)
    """Distance beyond its activation boundary to which a neuron is pushed."""

    _connectors: dict[str, Any] = PrivateAttr()

    def preparation(
        self, context: RunContext, network: nn.Module | None, modules: dict[str, nn.Module]
    ) -> Preparation | None:
        """Return the stage that trains the student's trunk and the connectors."""
        if network is None:  # the stage needs the student
            return None
        from soteacher.models.adapters import regressor

        if not hasattr(network, "trunk"):
            raise UserError(
                "AB first trains the layers that compute the student's maps, which the network's "
                "method trunk() must return; add it to the network, or use another student"
            )
        self._connectors = {}
        for stage in (f"{stage}_pre" for stage in stages(context)):
            shapes = context.student_features[stage], context.teacher_features[stage]
            same = shapes[0] == shapes[1]
            self._connectors[stage] = (
                torch.nn.Identity() if same else regressor(*shapes, relu=False)
            )
        trained = {"connectors": torch.nn.ModuleDict(self._connectors), "trunk": network.trunk()}
        return Preparation(self.prepare_epochs, None, trained, self._boundaries, student=True)

    @classmethod
    def norm_maps(cls, student: MapSizes, teacher: MapSizes) -> tuple[tuple[int, int], ...]:
        """Return the sizes of the teacher's maps, which the connectors' batch norms get."""
        return tuple(size for stage, size in teacher.items() if stage in student)

    def _boundaries(
        self, batch: Batch, output: Output | None, teacher: Output | None
    ) -> dict[str, Tensor]:
        """Return the loss of the first stage."""
        losses = []
        for level, (stage, connector) in enumerate(reversed(self._connectors.items())):
            student_map, teacher_map = (
                connector(output.features[stage]),
                teacher.features[stage].detach(),
            )
            losses.append(0.5**level * boundary_loss(student_map, teacher_map, self.margin))
        return {"boundaries": SCALE / len(batch.labels) * torch.stack(losses).sum()}


def boundary_loss(student: Tensor, teacher: Tensor, margin: float) -> Tensor:
    """Return the sum of squared distances of wrongly active or inactive neurons from the margin.

    student, teacher : (B, C, H, W), before the ReLU.
    """
    inactive = (student + margin).square() * ((teacher <= 0) & (student > -margin))
    active = (student - margin).square() * ((teacher > 0) & (student <= margin))
    return (inactive + active).sum()
