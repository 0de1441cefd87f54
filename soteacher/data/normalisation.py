"""Mean and standard deviation of each channel, with which images are normalised."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from soteacher.core.lazy import numpy as np
from soteacher.data.sources.base import ImageSet

log = logging.getLogger("soteacher")

CHANNELS = ("red", "green", "blue")


def normalisation(images: ImageSet) -> dict[str, Any]:
    """Return a manifest's entries about the mean and the standard deviation of each channel.

    A channel that has the same value in all training images, or almost, cannot be divided by its
    deviation, which is 0: it is divided by 1, and `undivided` has its number.
    """
    mean: Iterable[float] | None = images.mean
    std: Iterable[float] | None = images.std
    if mean is None or std is None:
        mean, std = _mean_and_std(images.train_images)
    # four digits, as usual: the last ones of a sum differ between machines
    rounded = [round(float(x), 4) for x in std]
    entries: dict[str, Any] = {"mean": [round(float(x), 4) for x in mean]}
    entries["std"] = [x or 1.0 for x in rounded]
    if undivided := [channel for channel, x in enumerate(rounded) if x == 0]:
        entries["undivided"] = undivided
        for channel in undivided:
            log.warning(
                "the channel %s has the value %.1f (of 255) in all training images, or almost in "
                "all: it is not divided by its standard deviation, which is 0",
                CHANNELS[channel],
                entries["mean"][channel] * 255,
            )
    return entries


def _mean_and_std(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation per channel, of pixels in [0, 1].

    No copy of the images as floats is created.
    """
    n = images.size // 3
    mean = np.einsum("nhwc->c", images, dtype=np.float64) / n
    square = np.einsum("nhwc,nhwc->c", images, images, dtype=np.float64) / n  # sums are exact
    variance = np.maximum(square - mean**2, 0)  # rounding may put it below 0
    return mean / 255, np.sqrt(variance) / 255
