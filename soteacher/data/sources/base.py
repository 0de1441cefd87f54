"""The base classes of data sources."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from soteacher.core import places
from soteacher.core.errors import Missing, UserError, shown
from soteacher.core.registry import name_of
from soteacher.core.settings import Settings
from soteacher.data.archives import ADDRESS, Archive
from soteacher.data.places import check_place

if TYPE_CHECKING:
    import numpy as np

Place = Annotated[str, Field(min_length=1)]
"""A path in a study file, which can start with `~` and contain environment variables."""


@dataclass(frozen=True)
class ImageSet:
    """Images and true classes, as a source returns them."""

    train_images: np.ndarray
    """uint8, (N, H, W, 3)"""
    train_labels: np.ndarray
    """int64, (N,)"""
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    """Names of the classes, in the order of the labels."""
    mean: tuple[float, float, float] | None = None
    """Mean per channel, of pixels in [0, 1]; None: it is computed from the training images."""
    std: tuple[float, float, float] | None = None
    """Standard deviation per channel, like `mean`."""
    train_names: tuple[str, ...] | None = None
    """Name of each training image, its path below the data set's folder; None: it has none."""
    test_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outline:
    """The sizes of a data set, which are known before its images are read."""

    n_train: int
    n_test: int
    height: int
    """Height of the images that networks get."""
    width: int
    n_classes: int
    stored_size: int | None = None
    """Height and width of the stored training images, if they are larger than those of networks."""

    @property
    def stored_pixels(self) -> int:
        """The number of pixels of a training image as it is stored."""
        return self.height * self.width if self.stored_size is None else self.stored_size**2

    @property
    def text(self) -> str:
        """The size of the images, for messages."""
        text = f"{self.width}x{self.height}"
        if self.stored_size is None:
            return text
        return f"{text} (training images: {self.stored_size}x{self.stored_size})"

    def largest_stored_size(self, needed: Callable[[Outline], int], left: int) -> int | None:
        """Return the largest stored size for which `needed` is at most `left`; None: there is none.

        needed : the bytes that something needs with other stored sizes, which grow with them.
        """
        if self.stored_size is None:
            return None
        sides = range(self.height + 1, self.stored_size)
        n = bisect_right(sides, left, key=lambda side: needed(replace(self, stored_size=side)))
        return sides[n - 1] if n else None

    @property
    def of_network(self) -> tuple[int, int, int]:
        """What the size of a network depends on: height, width, number of classes."""
        return self.height, self.width, self.n_classes


class Source(Settings):
    """A source of images; the name of its file is the `source` in a study file's `data` entry."""

    revision: ClassVar[int] = 1
    """Part of every spec. Increase it if the same settings give other images."""
    copies: ClassVar[int] = 1
    """How many times `read` has all images in memory at once, at most."""
    located_by: ClassVar[tuple[str, ...]] = ()
    """Settings that say where the images are, not what they are; no spec contains them."""

    input_size: int | None = Field(None, ge=1)
    """Height and width, in pixels, of the images that networks get, if the stored images are larger
    squares: `resized_crop` resizes a box of a stored training image to this size, and test images
    are resized to it as a whole. If it is not given, networks get images of the stored size."""

    @model_validator(mode="after")
    def _larger_than_input(self) -> Self:
        size = getattr(self, "size", None)  # of the sources that have this setting
        if self.input_size is not None and size is not None and self.input_size >= size:
            raise ValueError(
                f"expected `input_size` below `size`, {size}; got {self.input_size}: set `size` to "
                "a larger number, or remove `input_size`"
            )
        return self

    def spec(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults, without those of the location."""
        return {k: v for k, v in super().spec().items() if k not in self.located_by}

    def location(self) -> dict[str, Any]:
        """Return the settings of the location that differ from their defaults, as JSON values."""
        return {k: v for k, v in super().spec().items() if k in self.located_by}

    def content_key(self) -> str | None:
        """Return a hash of the source's content, in hexadecimal, without decoding the images.

        It distinguishes data of equal specs. None: a spec of this source has only one content.
        """
        return None

    def outline(self) -> Outline:
        """Return the sizes of the prepared data set, without reading the images; plans need them.

        Raises `UserError` if `input_size` does not fit the images.
        """
        images = self.outline_of_images()
        if self.input_size is None:
            return images
        size = self.input_size
        if images.height != images.width or size >= images.height:
            set_size = (
                f"set `size` to more than {size}, or " if "size" in type(self).model_fields else ""
            )
            raise UserError(
                f"`input_size: {size}` does not fit the images of the source {name_of(self)}, "
                f"which have {images.text} pixels; expected larger, square images: {set_size}"
                "remove `input_size`"
            )
        return replace(images, height=size, width=size, stored_size=images.height)

    def outline_of_images(self) -> Outline:
        """Return the sizes of the result of `read`, without reading the images."""
        raise NotImplementedError

    def fetched(self, downloads: Path) -> Self:
        """Return this source, available locally; what is missing is downloaded into the folder."""
        return self

    def read(self) -> ImageSet:
        """Check the local files, and return all images."""
        raise NotImplementedError


class PublishedSource(Source):
    """A data set with a published archive, which is downloaded unless `path` names a local copy."""

    located_by = ("path", "url")
    archive: ClassVar[Archive]

    path: Place | None = None
    """Path of a local copy, relative to the working directory. If it is given, nothing is
    downloaded."""
    url: str | None = Field(None, pattern=f"^{ADDRESS}$")
    """Address of a mirror to download the archive from; the file must equal the official one."""

    def fetched(self, downloads: Path) -> Self:
        """Return the source with a `path`: the given one, or that of the downloaded archive."""
        if self.path is not None:
            return self
        from soteacher.data.download import fetch

        path = fetch(self.archive, self.url or self.archive.url, downloads)
        return self.model_copy(update={"path": str(path.absolute())})

    @property
    def _place(self) -> Path | None:
        """The path that `path` names, which must exist, or None."""
        if self.path is None:
            return None
        place = expanded(self.path)
        check_place(place)
        if not os.path.exists(place):
            raise Missing(
                f"{shown(str(place))} does not exist (working directory: {Path.cwd()}): correct "
                f"`path`, or remove it to download {self.archive.name}"
            )
        return place

    @property
    def _at_hand(self) -> Path:
        """The path that `path` names; `path` must be set."""
        place = self._place
        if place is None:
            raise ValueError(f"{self.archive.name} needs a `path`: call `fetched` first")
        return place

    def _check_archive(self, place: Path) -> None:
        if (unlike := self.archive.unlike(place)) is not None:
            raise UserError(
                f"{shown(str(place))} is not the official {self.archive.name}: {unlike}; remove "
                "`path` to download the official file, or unpack this one and set `path` to the "
                "folder"
            )


def expanded(path: str) -> Path:
    """Return a path with its home folder and environment variables replaced by their values."""
    try:
        return Path(places.expanded(path))
    except ValueError as error:
        raise UserError(str(error)) from None
