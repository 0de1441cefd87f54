"""Images made of noise, of any number and size: for rehearsals and timings, with nothing to learn.

A study keeps its networks, methods and tables, and needs no data to be tried out.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from soteacher.core.random import key
from soteacher.core.registry import register
from soteacher.data.sources.base import ImageSet, Outline, Source


@register
class Generated(Source):
    """Square colour images of uniform noise; labels take turns."""

    n_train: int = Field(ge=2)
    """Training images."""
    n_test: int = Field(ge=2)
    """Test images."""
    size: int = Field(ge=1)
    """Height and width, in pixels."""
    n_classes: int = Field(ge=2)

    def outline(self) -> Outline:
        """Return the sizes that the settings say."""
        return Outline(self.n_train, self.n_test, self.size, self.size, self.n_classes)

    def read(self) -> ImageSet:
        """Return the same images every time."""
        import numpy as np

        arrays: dict[str, Any] = {}
        for split, n in (("train", self.n_train), ("test", self.n_test)):
            random = np.random.Generator(np.random.PCG64(key(0, "data", f"generated {split}")))
            shape = (n, self.size, self.size, 3)
            arrays[f"{split}_images"] = random.integers(0, 256, shape, dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(n, dtype=np.int64) % self.n_classes
        return ImageSet(**arrays, classes=tuple(str(label) for label in range(self.n_classes)))
