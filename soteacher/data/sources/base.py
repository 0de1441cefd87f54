"""The base of every data source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field

from soteacher.core.errors import UserError
from soteacher.core.settings import Settings
from soteacher.data.archives import ADDRESS, Archive

if TYPE_CHECKING:
    import numpy as np

Place = Annotated[str, Field(min_length=1)]
"""A path as a study has it: `~` may stand for a home folder."""


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

    def fetched(self, downloads: Path) -> Self:
        """Return this source with all of it at hand: downloaded into the folder where it is not."""
        return self

    def read(self) -> ImageSet:
        """Check what is at hand, and return all images."""
        raise NotImplementedError


class PublishedSource(Source):
    """A data set whose archive is downloaded, unless `path` says where a copy is."""

    located_by = ("path", "url")
    archive: ClassVar[Archive]

    path: Place | None = None
    """A copy on this machine, relative to the working directory; nothing is downloaded then."""
    url: str | None = Field(None, pattern=f"^{ADDRESS}$")
    """A mirror that the official archive is downloaded from; its bytes must be the same."""

    def fetched(self, downloads: Path) -> Self:
        """Return the source with a `path`: its own, or that of the downloaded archive."""
        if self.path is not None:
            return self
        from soteacher.data.download import fetch

        path = fetch(self.archive, self.url or self.archive.url, downloads)
        return self.model_copy(update={"path": str(path.absolute())})

    @property
    def _place(self) -> Path | None:
        """What `path` says, if anything; it is there."""
        if self.path is None:
            return None
        place = expanded(self.path)
        if not place.exists():
            raise UserError(
                f"there is nothing at {place} (from {Path.cwd()}): mend `path`, or leave it out to "
                f"download {self.archive.name}"
            )
        return place

    @property
    def _at_hand(self) -> Path:
        """What `path` says; it must say something by now."""
        place = self._place
        if place is None:
            raise ValueError(f"{self.archive.name} is read from a `path`: see `fetched`")
        return place

    def _check_archive(self, place: Path) -> None:
        if (unlike := self.archive.unlike(place)) is not None:
            raise UserError(
                f"{place} is not the official {self.archive.name}: {unlike}; leave `path` out to "
                "download that, or unpack yours and give its folder"
            )


def expanded(path: str) -> Path:
    """A path with its home folder in place of `~`."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise UserError(f"no home folder is known for '{user}' of '{path}': mend `path`") from None
