"""The base of every data source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

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
    located_by: ClassVar[tuple[str, ...]] = ()
    """Settings that say where images are found, not what they are: no part of any spec."""

    def spec(self) -> dict[str, Any]:
        """The settings that differ from their defaults, but for those that say where."""
        return {k: v for k, v in super().spec().items() if k not in self.located_by}

    def location(self) -> dict[str, Any]:
        """The settings that say where and differ from their defaults, as plain JSON values."""
        return {k: v for k, v in super().spec().items() if k in self.located_by}

    def content_key(self) -> str | None:
        """Return a hash of what is found there, in hexadecimal, without reading the images.

        It tells data of equal specs apart. None: a spec of this source has only one content.
        """
        return None

    def outline(self) -> Outline:
        """Return the sizes of what `read` returns, without reading it: plans are counted so."""
        raise NotImplementedError

    def read(self) -> ImageSet:
        """Fetch what is missing, check it, and return all images."""
        raise NotImplementedError
