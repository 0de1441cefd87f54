"""The bases of every regularizer, and which of them have a meaning together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Self

from soteacher.core.errors import UserError
from soteacher.terms import LossTerm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.core.random import Random
    from soteacher.models.output import Output


class Regularizer(LossTerm):
    """A loss term of a teacher. Its file's name is its key in a study's `teachers`."""

    table7: ClassVar[bool] = False
    """Whether Table 7 of the paper has a row of it alone, with the settings that are defaults."""
    remembers_images: ClassVar[bool] = False
    """Whether it keeps something of the predictions of each single training image."""

    def data_sets(self) -> tuple[str, ...]:
        """The data sets that these settings name."""
        return ()

    def for_data(self, data: str, where: str) -> Self:
        """These settings for one data set of the study: some may be a map by data set."""
        return self


class ImageChange(Regularizer):
    """A regularizer that changes the images a teacher is trained on; a method has at most one.

    What it does is a function of its settings and of `random` alone: it keeps nothing, and all
    teachers of a pass see the same images. The students of these teachers see plain ones (A31).
    """

    blends: ClassVar[bool] = False
    """Whether an image then has parts of another one."""

    @property
    def views(self) -> int:
        """Views of each image in a batch; outputs of the network are then (views * B, ...)."""
        return 1

    def augment(self, images: Tensor, random: Random) -> Tensor:
        """Change images after crop and flip, before they are normalised.

        images : uint8, (B, H, W, 3).
        Returns uint8 or float32 from 0 to 255, (views * B, H, W, 3): all first views, then all
        second ones, ...
        """
        return images

    def mix(self, batch: Batch, n_classes: int, random: Random) -> Batch:
        """Change a batch whose images are normalised, and its targets."""
        return batch

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return no loss of its own: the cross-entropy with the batch's targets is all."""
        return {}


def check_together(regularizers: Mapping[str, Regularizer]) -> None:
    """Raise `UserError` if these have no meaning in one teacher method; it says why."""
    changing = {n: r for n, r in regularizers.items() if isinstance(r, ImageChange)}
    if len(changing) > 1:
        raise UserError(
            f"{' and '.join(map(repr, changing))} each change the training images: expected at "
            "most one that does in a teacher method"
        )
    blending = [name for name, part in changing.items() if part.blends]
    remembering = [name for name, part in regularizers.items() if part.remembers_images]
    if blending and remembering:
        raise UserError(
            f"'{remembering[0]}' keeps what the teacher predicts for each single image, and with "
            f"'{blending[0]}' it sees blends of two: expected only one of them in a teacher method"
        )
