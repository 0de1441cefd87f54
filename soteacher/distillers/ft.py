"""Factor transfer (FT): Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via
Factor Transfer, 2018.

In a first stage, a paraphraser (an autoencoder of the teacher's last map) is trained for 30 epochs
at learning rate 0.01 by its mean squared reconstruction error. Its code, the factor F_t, has half
as many channels as the map. In the main stage, a translator is trained with the student; its output
for the student's map, F_s, is trained to match F_t:

    mean over images and pixels of |A(F_s) - A(F_t)|

with A(F) the mean over channels of F^2, scaled to length 1 over the pixels; the larger factor is
averaged down to the size of the smaller. This follows the code that SoTeacher's authors ran
(RepDistiller); Kim et al. compare the whole scaled factors, with all their channels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PrivateAttr

from soteacher.core.errors import UserError
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.distillers.base import FeatureDistiller, Table5, Weight, directions
from soteacher.terms import Preparation

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.models.output import Features, Output
    from soteacher.terms import FeatureShapes, RunContext

RATE = 0.01
"""Learning rate of the paraphraser, for every recipe of the student."""
SLOPE = 0.1
"""Negative slope of the leaky ReLUs."""


@register
class FT(FeatureDistiller):
    """Mean absolute difference between the attention of the student's and the teacher's factor."""

    in_paper: ClassVar[bool] = True
    operations: ClassVar[int] = 69
    prepares_from_teacher: ClassVar[bool] = True
    display_name: ClassVar[str] = "FT"
    needs: ClassVar[tuple[str, ...]] = ("stage1",)

    weight: Weight = Table5(standard=200.0, soteacher=100.0)
    """Weight of the mean absolute difference (beta of Table 5)."""
    prepare_epochs: int = Field(30, ge=1)
    """Number of epochs of the first stage, which trains the paraphraser once per teacher."""
    factor: float = Field(0.5, gt=0)
    """Number of channels of the factor, relative to the teacher's map."""

    _stage: str = PrivateAttr()
    _translator: Any = PrivateAttr()

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return the translator."""
        self._stage = last_stage(context.teacher_features)
        if last_stage(context.student_features) != self._stage:
            raise UserError(
                "FT matches the maps of the last stage, so student and teacher need the same "
                f"number of stages: the teacher ends with {self._stage}, the student ends with "
                f"{last_stage(context.student_features)}"
            )
        into, wide = (
            context.student_features[self._stage][0],
            context.teacher_features[self._stage][0],
        )
        layers: list[nn.Module] = []
        for before, after in pairwise((into, into, self._channels(wide), self._channels(wide))):
            layers.append(torch.nn.Conv2d(before, after, 3, padding=1))
            layers += [torch.nn.BatchNorm2d(after), torch.nn.LeakyReLU(SLOPE)]
        self._translator = torch.nn.Sequential(*layers)
        return {"translator": self._translator}

    def preparation(
        self, context: RunContext, network: nn.Module | None, modules: dict[str, nn.Module]
    ) -> Preparation:
        """Return the stage that trains the paraphraser on the teacher's maps."""
        stage = last_stage(context.teacher_features)
        wide = context.teacher_features[stage][0]
        narrow = self._channels(wide)

        def layers(kind: type[nn.Module], *sizes: int) -> nn.Sequential:
            stack: list[nn.Module] = []
            for before, after in pairwise(sizes):
                stack += [kind(before, after, 3, padding=1), torch.nn.LeakyReLU(SLOPE)]
            return torch.nn.Sequential(*stack)

        encoder = layers(torch.nn.Conv2d, wide, wide, narrow, narrow)
        decoder = layers(torch.nn.ConvTranspose2d, narrow, narrow, wide, wide)

        def loss(batch: Batch, output: Output | None, teacher: Output | None) -> dict[str, Tensor]:
            teacher_map = teacher.features[stage]
            restored = decoder(encoder(teacher_map))
            return {"paraphrased": torch.nn.functional.mse_loss(restored, teacher_map)}

        trained = {"encoder": encoder, "decoder": decoder}
        return Preparation(self.prepare_epochs, lambda epoch: RATE, trained, loss, student=False)

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the mean absolute difference between the attention of both factors."""
        from soteacher.models.adapters import same_size

        factor = self._prepared["encoder"](teacher[self._stage])
        student_factor, teacher_factor = map(
            large, same_size(self._translator(student[self._stage]), factor)
        )
        return torch.nn.functional.l1_loss(student_factor, teacher_factor)

    def _channels(self, wide: int) -> int:
        return max(int(wide * self.factor), 1)


def last_stage(features: FeatureShapes) -> str:
    """Return the name of a network's map of the last stage."""
    maps = sorted(name for name in features if name.startswith("stage") and "_" not in name)
    if not maps:
        raise UserError(
            "FT matches the maps of the last stage, but the network has no feature 'stage1': it "
            f"has {', '.join(features)}"
        )
    return maps[-1]


def large(factor: Tensor) -> Tensor:
    """Return the attention of factors (B, C, H, W): (B, H * W), each row of length 1."""
    return directions(factor.square().mean(dim=1).flatten(1))
