"""The settings of a data set in a study file: augmentation and true label distributions."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from soteacher.core.settings import Settings
from soteacher.data.sources.base import Place

STREAM = 1
"""Revision of the stream of batches (order, crops, flips, drawn labels)."""
TRUE_LABELS = 1
"""Revision of the true label distributions."""


class ResizedCrop(Settings):
    """A random box of the image, resized to one size: torchvision's `RandomResizedCrop`."""

    scale: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the image's area; the share is uniform between them."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width over height of the box; its logarithm is uniform between them."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("expected `scale: [least, largest]`, above 0, in order, and at most 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError("expected `ratio: [least, largest]`, above 0 and in order")
        return self


class Augment(Settings):
    """The augmentation of each training image; the operations are applied in this order."""

    rotation: float = Field(0.0, ge=0, le=180)
    """Largest angle, in degrees, of a random rotation about the centre, to either side, with zeros
    outside the image (the paper: 20 on Tiny-ImageNet)."""
    crop_padding: int = Field(0, ge=0)
    """Width, in pixels, of the border of zeros that is added to the image before a random crop of
    the original size is taken."""
    resized_crop: ResizedCrop | None = None
    """A random box of the image, resized (bilinear, antialiased) to the data set's `input_size`,
    or else to the image's size, instead of `crop_padding`. If it is not given, there is none; `{}`
    has torchvision's ranges."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""

    @field_validator("resized_crop", mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        return {} if value is None else value  # `resized_crop:` with nothing after it

    @model_validator(mode="after")
    def _one_crop(self) -> Self:
        if self.crop_padding and self.resized_crop is not None:
            raise ValueError(
                "expected `crop_padding` or `resized_crop`, not both: remove one of them"
            )
        return self


class TrueLabels(Settings):
    """Known true label distributions: labels are drawn from a given confusion of similar classes.

    An image of class c has p*(c) = 1 - confusion, and the look-alikes nearest to class c (by the
    distance of the classes' mean training images) share the rest. Training labels are drawn from
    p* once for each seed; test labels are drawn once.
    """

    confusion: float = Field(gt=0, lt=0.5)
    """Probability that a label is not the image's true class. It is below 0.5, so that argmax p*
    is the true class."""
    split: tuple[float, ...] = (0.7, 0.3)
    """Shares of the confusion for the nearest look-alike class, the second nearest, and so on; they
    sum to 1."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if abs(sum(self.split) - 1) > 1e-9 or min(self.split, default=0) <= 0:
            raise ValueError("expected positive shares in `split` that sum to 1")
        return self


class GivenLabels(Settings):
    """True label distributions that are given for each image, as a spec states them.

    Where they are stored is no part of a spec; the hashes of the prepared arrays identify them.
    """

    def spec(self) -> dict[str, Any]:
        """Return the entry that distinguishes this spec from that of `TrueLabels`."""
        return {"given": True}


class CountsFile(GivenLabels):
    """Label counts or probabilities of each image, in a file.

    Training labels are drawn from them once for each seed. Test labels are drawn once if the file
    has the test images, too; otherwise they are those of the data set.
    """

    counts: Place
    """Path of the file, relative to the working directory: a CSV file with a column `image` and one
    column for each class, an .npy file with one row for each training image, or an .npz file or a
    folder of .npy files with the arrays `train_truth` and, optionally, `test_truth`. Rows are whole
    counts, or probabilities that sum to 1. The path is not part of a run's spec."""


KnownLabels = TrueLabels | GivenLabels
"""What a data set with known true label distributions has in its spec."""
