"""Images of noise, of any number and size, for rehearsals and timings: nothing can be learned.

With them, a study can be tried out without data; its networks, methods and tables stay the same.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from soteacher.core.random import key
from soteacher.core.registry import register
from soteacher.data.sources.base import ImageSet, Outline, Source


@register
class Generated(Source):
    """Square colour images of uniform noise; the labels are 0, 1, ... in turn."""

    n_train: int = Field(ge=2)
    """Number of training images."""
    n_test: int = Field(ge=2)
    """Number of test images."""
    size: int = Field(ge=1)
    """Height and width of the images, in pixels."""
    n_classes: int = Field(ge=2)
    """Number of classes."""

    def outline_of_images(self) -> Outline:
        """Return the sizes that the settings give."""
        return Outline(self.n_train, self.n_test, self.size, self.size, self.n_classes)

    def read(self) -> ImageSet:
        """Return the images; they are the same in every call."""
        import numpy as np

        arrays: dict[str, Any] = {}
        for split, n in (("train", self.n_train), ("test", self.n_test)):
            random = np.random.Generator(np.random.PCG64(key(0, "data", f"generated {split}")))
            shape = (n, self.size, self.size, 3)
            arrays[f"{split}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(n, dtype=np.int64) % self.n_classes
        return ImageSet(**arrays, classes=tuple(str(label) for label in range(self.n_classes)))
