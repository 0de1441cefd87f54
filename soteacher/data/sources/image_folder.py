"""Images of one's own in class folders: `train/<class>/*` and `test/<class>/*`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from soteacher.core import files
from soteacher.core.errors import UserError, few
from soteacher.core.hashing import json_sha256
from soteacher.core.registry import register
from soteacher.data.sources.base import ImageSet, Outline, Place, Source, expanded

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("soteacher")

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUT = "expected train/<class>/* and test/<class>/* below `path`"
SIXTEEN_BITS = re.compile(r";16[BLN]")
"""In Pillow's name for pixels of 16 bits a channel, of which it would keep 8 without a word."""


@register
class ImageFolder(Source):
    """Class folders of images, `train/<class>/*` and `test/<class>/*`, of any size and colour.

    Classes are ordered by name, and so are the images of a class. Hidden files, folders inside a
    class folder and files without the extension of an image (bmp, jpeg, jpg, pgm, png, ppm, tif,
    tiff, webp) are left out. Images are turned as their EXIF orientation says; grey ones and
    palettes become RGB, transparency is laid over white, of several frames the first is taken.
    Images of 16 bits a channel or of floats are refused.
    """

    located_by = ("path",)

    path: Place
    """The folder that holds `train` and `test`, relative to the working directory. No part of what
    a run is: the same images in another place are the same data."""
    size: int | None = Field(None, ge=1)
    """Height and width, in pixels, that images are brought to: the shorter side is resized to it
    (bicubic, antialiased) and the centre square is cut out. Where left out, all images must have
    one size, and are taken as they are."""

    def content_key(self) -> str:
        """Return a hash of the images' names, below `path`, and bytes."""
        hashes = {}
        for path in _paths(self._splits().values()):
            try:
                hashes[path.relative_to(self._folder).as_posix()] = files.sha256_of(path)
            except OSError as error:
                raise unreadable(path, error) from error
        return json_sha256(hashes)

    def outline(self) -> Outline:
        """Return the sizes: files are counted, and only the first image is read."""
        train, test = self._splits().values()
        images = _paths([train])
        height, width, _ = self._pixels(images[0]).shape
        return Outline(len(images), len(_paths([test])), height, width, n_classes=len(train))

    def read(self) -> ImageSet:
        """Return all images, in the order of their classes' names and their own."""
        import numpy as np

        splits = self._splits()
        first = _paths(splits.values())[0]
        shape = self._pixels(first).shape
        arrays: dict[str, Any] = {}
        for split, classes in splits.items():
            paths = _paths([classes])
            log.info("reading %d images from %s", len(paths), self._folder / split)
            images = np.empty((len(paths), *shape), dtype=np.uint8)  # (N, H, W, 3)
            for row, path in zip(images, paths, strict=True):
                pixels = self._pixels(path)
                if pixels.shape != shape:
                    raise UserError(
                        f"images of one size expected, but {first} has {_size(shape)} pixels and "
                        f"{path} {_size(pixels.shape)}: give `size`, a number of pixels, and all "
                        "images are resized and cut to it"
                    )
                row[:] = pixels
            counts = [len(own) for own in classes.values()]
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        return ImageSet(**arrays, classes=tuple(splits["train"]))

    @property
    def _folder(self) -> Path:
        return expanded(self.path)

    def _splits(self) -> dict[str, dict[str, list[Path]]]:
        """Split to class to its images, in order."""
        folder = self._folder
        if not folder.is_dir():
            raise UserError(
                f"no folder of images at {folder} (from {Path.cwd()}); {LAYOUT}: mend `path`"
            )
        for split in ("train", "test"):
            if not (folder / split).is_dir():
                raise UserError(
                    f"no folder '{split}' in {folder}; {LAYOUT}: make it, or mend `path`"
                )
        classes = {split: _listed(folder / split, folders=True) for split in ("train", "test")}
        train, test = ({path.name for path in classes[split]} for split in classes)
        if train != test:
            raise UserError(
                f"{folder} has other classes in train than in test (only in train: "
                f"{few(train - test)}; only in test: {few(test - train)}): give both the same "
                "class folders"
            )
        if len(train) < 2:
            raise UserError(
                f"at least two classes expected in {folder}/train, found {few(train)}; {LAYOUT}: "
                "add class folders, or mend `path`"
            )
        splits = {}
        for split, places in classes.items():
            splits[split] = {place.name: _listed(place, folders=False) for place in places}
            for place in places:
                if not splits[split][place.name]:
                    raise UserError(
                        f"no image in the class folder {place}; expected files that end in "
                        f"{', '.join(EXTENSIONS)}: add some, or take the class out of train and "
                        "test"
                    )
        return splits

    def _pixels(self, path: Path) -> np.ndarray:
        """One image as training reads it, uint8, (H, W, 3)."""
        import numpy as np
        from PIL import Image, ImageOps

        try:
            image: Image.Image
            with Image.open(path) as image:
                deep = image.mode.startswith(("I", "F")) or any(
                    SIXTEEN_BITS.search(str(tile[3])) for tile in image.tile
                )
                if not deep:
                    image = ImageOps.exif_transpose(image)
                    if image.has_transparency_data:
                        white = Image.new("RGBA", image.size, "white")
                        image = Image.alpha_composite(white, image.convert("RGBA"))
                    image = image.convert("RGB")
        except Exception as error:  # a decoder may raise anything on broken bytes
            raise unreadable(path, error) from error
        if deep:
            raise UserError(
                f"8 bits a channel expected, but {path} has 16 or more, or floats (mode "
                f"{image.mode}): save it with 8, scaled as you mean it"
            )
        if self.size is not None:
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(image)


def _paths(splits: Iterable[dict[str, list[Path]]]) -> list[Path]:
    """All images of some splits, in order."""
    return [path for classes in splits for paths in classes.values() for path in paths]


def _listed(folder: Path, folders: bool) -> list[Path]:
    """The folders in a folder, or its images, by name; hidden ones are left out."""
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".")
            and path.is_dir() == folders
            and (folders or path.suffix.lower() in EXTENSIONS)
        )
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}; allow it and try again") from None


def unreadable(path: Path | str, error: Exception) -> UserError:
    """What is said of an image that cannot be decoded."""
    why = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    return UserError(
        f"cannot read the image {path} ({why}); put a whole one in its place, or take it out"
    )


def _size(shape: tuple[int, ...]) -> str:
    height, width, _ = shape
    return f"{width}x{height}"
