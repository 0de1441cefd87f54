"""What a study says of its images: their augmentation, and true label distributions."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from soteacher.core.settings import Settings

STREAM = 1
"""Revision of the stream of batches (order, crops, flips, drawn labels)."""
TRUE_LABELS = 1
"""Revision of how true label distributions are made."""


class Augment(Settings):
    """What is done to each training image, in this order."""

    rotation: float = Field(0.0, ge=0, le=180)
    """Degrees, at most, of a rotation about the centre, to either side, with zeros outside the
    image (the paper: 20 on Tiny-ImageNet)."""
    crop_padding: int = Field(0, ge=0)
    """Zeros around the image, in pixels, before a crop of its own size is taken at random."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""


class TrueLabels(Settings):
    """Known true label distributions: labels drawn from a stated confusion of look-alike classes.

    An image of class c gets p*(c) = 1 - confusion, and its class's nearest look-alikes (by the
    distance of the classes' mean training images) share the rest. Training labels are drawn from
    p* anew for each seed; test labels once.
    """

    confusion: float = Field(gt=0, lt=0.5)
    """Probability that a label is not the image's own class; below 0.5, so that argmax p* is."""
    split: tuple[float, ...] = (0.7, 0.3)
    """Shares of the confusion that go to the nearest look-alike, the second nearest, ..."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if abs(sum(self.split) - 1) > 1e-9 or min(self.split, default=0) <= 0:
            raise ValueError("expected positive shares in `split` that sum to 1")
        return self
