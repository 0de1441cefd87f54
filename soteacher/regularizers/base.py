"""The base classes of all regularizers, and the check that regularizers can be combined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field

from soteacher.core.errors import UserError
from soteacher.terms import LossTerm

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soteacher.core.batch import Batch
    from soteacher.core.random import Random
    from soteacher.models.output import Output


Weight = Annotated[float, Field(ge=0)]
"""A weight of a loss."""


class Regularizer(LossTerm):
    """A loss term of a teacher. The name of its file is its key in a study's `teachers`."""

    table7: ClassVar[bool] = False
    """Whether Table 7 of the paper has a row with this regularizer alone and default settings."""
    kind: ClassVar[str] = "regularizer"
    remembers_images: ClassVar[bool] = False
    """Whether it stores something about the predictions of training images."""
    per_data: ClassVar[tuple[str, ...]] = ()
    """Names of the settings that may be a mapping from data set to value."""

    def data_sets(self) -> tuple[str, ...]:
        """Return the names of the data sets in the settings."""
        return tuple({data: None for values in self._mappings().values() for data in values})

    def for_data(self, data: str, where: str) -> Self:
        """Return the settings for one data set, each mapping replaced by its value."""
        chosen = {}
        for name, values in self._mappings().items():
            if data not in values:
                given = ", ".join(sorted(values))
                raise UserError(
                    f"{where}.{name}: no {name} for the data set '{data}'; it is given for: {given}"
                )
            chosen[name] = values[data]
        return self.model_copy(update=chosen) if chosen else self

    def _mappings(self) -> dict[str, dict[str, float]]:
        """Return the settings that are mappings from data set to value."""
        settings = {name: getattr(self, name) for name in self.per_data}
        return {name: value for name, value in settings.items() if isinstance(value, dict)}


class ImageChange(Regularizer):
    """A regularizer that changes a teacher's training images; a teacher method has at most one.

    The changed images depend only on its settings and on `random`. It stores nothing, and all
    teachers of a pass see the same images. Their students see unchanged images (A31).
    """

    blends: ClassVar[bool] = False
    """Whether a changed image has parts of another image."""

    @property
    def views(self) -> int:
        """Number of views of each image; the network's outputs have shape (views * B, ...)."""
        return 1

    def augment(self, images: Tensor, random: Random) -> Tensor:
        """Change images after crop and flip, before normalisation.

        images : uint8, (B, H, W, 3).
        Returns uint8 or float32 from 0 to 255, (views * B, H, W, 3): all first views, then all
        second ones, ...
        """
        return images

    def mix(self, batch: Batch, n_classes: int, random: Random) -> Batch:
        """Change a batch with normalised images, and its targets."""
        return batch

    def losses(
        self, batch: Batch, output: Output, teacher: Output | None, network: nn.Module
    ) -> dict[str, Tensor]:
        """Return no losses: the cross-entropy with the batch's targets is the only loss."""
        return {}


def check_together(regularizers: Mapping[str, Regularizer]) -> None:
    """Raise `UserError` if these regularizers cannot be combined in one teacher method."""
    changing = {n: r for n, r in regularizers.items() if isinstance(r, ImageChange)}
    if len(changing) > 1:
        raise UserError(
            f"{' and '.join(map(repr, changing))} each change the training images: use at most "
            "one of them in a teacher method"
        )
    replacing = [name for name, part in regularizers.items() if part.replaces_cross_entropy]
    if len(replacing) > 1:
        raise UserError(
            f"{' and '.join(map(repr, replacing))} each take the place of the cross-entropy: use "
            "at most one of them in a teacher method"
        )
    blending = [name for name, part in changing.items() if part.blends]
    remembering = [name for name, part in regularizers.items() if part.remembers_images]
    if blending and remembering:
        raise UserError(
            f"'{remembering[0]}' stores the teacher's predictions of training images, but "
            f"'{blending[0]}' blends images: use only one of them in a teacher method"
        )
