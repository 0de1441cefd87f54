"""The base of every data source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from soteacher.settings import Settings

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ImageSet:
    """Images and true classes as a source has them."""

    train_images: np.ndarray
    """uint8, (N, H, W, 3)"""
    train_labels: np.ndarray
    """int64, (N,)"""
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    """Names, in the order of the labels."""
    mean: tuple[float, float, float] | None = None
    """Per channel, of pixels in [0, 1]; None: measured on the training images."""
    std: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Outline:
    """The sizes of a data set, told before its images are read."""

    n_train: int
    n_test: int
    height: int
    width: int
    n_classes: int


class Source(Settings):
    """A place that images come from. Its file's name is the `source` of a study's `data` entry."""

    revision: ClassVar[int] = 1
    """Part of every spec: a new number where the same settings give other images."""

    def outline(self) -> Outline:
        """Return the sizes of what `read` returns, without reading it: plans are counted so."""
        raise NotImplementedError

    def read(self) -> ImageSet:
        """Fetch what is missing, check it, and return all images."""
        raise NotImplementedError
