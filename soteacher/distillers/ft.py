"""Factor transfer (FT): Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via
Factor Transfer, 2018.

A paraphraser, an autoencoder of the teacher's last map, is trained first, for 30 epochs at rate
0.01, by the mean squared error of what it restores. Its code, the factor F_t, has half as many
channels as the map. Then a translator is trained with the student, whose output F_s for the
student's map is to match it:

    mean over images and pixels of |A(F_s) - A(F_t)|

with A(F) the mean over channels of F^2, scaled to length 1 over the pixels; the larger factor is
averaged down to the smaller one's size. As SoTeacher ran it (RepDistiller); Kim et al. compare the
whole scaled factors, and so all their channels.
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
"""Of the paraphraser's training, whatever the student's recipe."""
SLOPE = 0.1
"""Of the leaky ReLUs."""


@register
class FT(FeatureDistiller):
    """Difference between the factors of student and teacher, in where they are large."""

    in_paper: ClassVar[bool] = True
    display_name: ClassVar[str] = "FT"

    weight: Weight = Table5(standard=200.0, soteacher=100.0)
    """Of the difference (beta of Table 5)."""
    prepare_epochs: int = Field(30, ge=1)
    """Of the paraphraser's training, which is done once a teacher."""
    factor: float = Field(0.5, gt=0)
    """Channels of the factor, over those of the teacher's map."""

    _stage: str = PrivateAttr()
    _translator: Any = PrivateAttr()

    def build(self, context: RunContext) -> dict[str, nn.Module]:
        """Return the translator."""
        self._stage = last_stage(context.teacher_features)
        if last_stage(context.student_features) != self._stage:
            raise UserError(
                "FT matches the maps of the last stage: expected as many stages of the student as "
                f"of the teacher, which ends with {self._stage}; the student ends with "
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
            made: list[nn.Module] = []
            for before, after in pairwise(sizes):
                made += [kind(before, after, 3, padding=1), torch.nn.LeakyReLU(SLOPE)]
            return torch.nn.Sequential(*made)

        encoder = layers(torch.nn.Conv2d, wide, wide, narrow, narrow)
        decoder = layers(torch.nn.ConvTranspose2d, narrow, narrow, wide, wide)

        def loss(batch: Batch, output: Output | None, teacher: Output | None) -> dict[str, Tensor]:
            wanted = teacher.features[stage]
            restored = decoder(encoder(wanted))
            return {"paraphrased": torch.nn.functional.mse_loss(restored, wanted)}

        trained = {"encoder": encoder, "decoder": decoder}
        return Preparation(self.prepare_epochs, lambda epoch: RATE, trained, loss, student=False)

    def feature_loss(self, batch: Batch, student: Features, teacher: Features) -> Tensor:
        """Return the mean difference of both factors."""
        from soteacher.models.adapters import same_size

        factor = self._prepared["encoder"](teacher[self._stage])
        ours, theirs = map(large, same_size(self._translator(student[self._stage]), factor))
        return torch.nn.functional.l1_loss(ours, theirs)

    def _channels(self, wide: int) -> int:
        return max(int(wide * self.factor), 1)


def last_stage(features: FeatureShapes) -> str:
    """The name of the last stage's map of a network."""
    maps = sorted(name for name in features if name.startswith("stage") and "_" not in name)
    if not maps:
        raise UserError(
            "FT matches the maps of the last stage, but there is no feature 'stage1': there are "
            f"{', '.join(features)}"
        )
    return maps[-1]


def large(factor: Tensor) -> Tensor:
    """Where a factor (B, C, H, W) is large: (B, H * W), each row of length 1."""
    return directions(factor.square().mean(dim=1).flatten(1))
