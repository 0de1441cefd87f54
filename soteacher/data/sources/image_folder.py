"""Your images in class folders: `train/<class>/*` and `test/<class>/*`."""

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
"""Part of Pillow's names for pixels of 16 bits per channel; Pillow would silently keep 8 bits."""


@register
class ImageFolder(Source):
    """Class folders of images, `train/<class>/*` and `test/<class>/*`, of any size and colour.

    Classes are ordered by name, and so are the images of a class. Hidden files, folders inside a
    class folder and files without the extension of an image (bmp, jpeg, jpg, pgm, png, ppm, tif,
    tiff, webp) are ignored. Images are turned by their EXIF orientation; grey and palette images
    are converted to RGB, transparent images are put on white, and only the first frame of an image
    is used. Images of 16 bits per channel or of floats are an error.
    """

    located_by = ("path",)

    path: Place
    """Path of the folder that contains `train` and `test`, relative to the working directory. The
    path is not part of a run's spec: the same images in another folder are the same data set."""
    size: int | None = Field(None, ge=1)
    """Height and width of the images, in pixels: the shorter side is resized to this size (bicubic,
    antialiased) and the centre square is cut out. If it is not given, all images must have the same
    size, and they are not changed."""

    def content_key(self) -> str:
        """Return a hash of the images' paths, relative to `path`, and of their bytes."""
        hashes = {}
        for path in _paths(self._splits().values()):
            try:
                hashes[path.relative_to(self._folder).as_posix()] = files.sha256_of(path)
            except OSError as error:
                raise unreadable(path, error) from error
        return json_sha256(hashes)

    def outline(self) -> Outline:
        """Return the sizes; files are counted, and only the first image is read."""
        train, test = self._splits().values()
        images = _paths([train])
        height, width, _ = self._pixels(images[0]).shape
        return Outline(len(images), len(_paths([test])), height, width, n_classes=len(train))

    def read(self) -> ImageSet:
        """Return all images, ordered by the names of their classes, then by their own names."""
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
                        f"{first} has {_size(shape)} pixels and {path} has {_size(pixels.shape)}; "
                        "expected images of one size: set `size` to a number of pixels to resize "
                        "and crop all images to it"
                    )
                row[:] = pixels
            counts = [len(images_of_class) for images_of_class in classes.values()]
            arrays[f"{split}_images"] = images
            arrays[f"{split}_labels"] = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        return ImageSet(**arrays, classes=tuple(splits["train"]))

    @property
    def _folder(self) -> Path:
        return expanded(self.path)

    def _splits(self) -> dict[str, dict[str, list[Path]]]:
        """Return split to class to its images, in order."""
        folder = self._folder
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not a folder (working directory: {Path.cwd()}); {LAYOUT}: correct "
                "`path`"
            )
        for split in ("train", "test"):
            if not (folder / split).is_dir():
                raise UserError(
                    f"no folder '{split}' in {folder}; {LAYOUT}: create it, or correct `path`"
                )
        classes = {split: _listed(folder / split, folders=True) for split in ("train", "test")}
        train, test = ({path.name for path in classes[split]} for split in classes)
        if train != test:
            raise UserError(
                f"{folder} has different classes in train and in test (only in train: "
                f"{few(train - test)}; only in test: {few(test - train)}): give both the same "
                "class folders"
            )
        if len(train) < 2:
            raise UserError(
                f"expected at least two classes in {folder}/train, got {few(train)}; {LAYOUT}: "
                "add class folders, or correct `path`"
            )
        splits = {}
        for split, places in classes.items():
            splits[split] = {place.name: _listed(place, folders=False) for place in places}
            for place in places:
                if not splits[split][place.name]:
                    raise UserError(
                        f"no image in the class folder {place}; expected files that end in "
                        f"{', '.join(EXTENSIONS)}: add images, or remove the class from train and "
                        "test"
                    )
        return splits

    def _pixels(self, path: Path) -> np.ndarray:
        """Return one image, resized and cropped, uint8, (H, W, 3)."""
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
                f"{path} has 16 or more bits per channel, or floats (mode {image.mode}); expected "
                "8 bits per channel: scale it and save it with 8 bits"
            )
        if self.size is not None:
            image = ImageOps.fit(image, (self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(image)


def _paths(splits: Iterable[dict[str, list[Path]]]) -> list[Path]:
    """Return all images of some splits, in order."""
    return [path for classes in splits for paths in classes.values() for path in paths]


def _listed(folder: Path, folders: bool) -> list[Path]:
    """Return the folders in a folder, or its images, sorted by name, without hidden ones."""
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if not path.name.startswith(".")
            and path.is_dir() == folders
            and (folders or path.suffix.lower() in EXTENSIONS)
        )
    except OSError as error:
        raise UserError(
            f"cannot read {folder}: {error.strerror}; check the folder's permissions and try again"
        ) from None


def unreadable(path: Path | str, error: Exception) -> UserError:
    """Return the error for an image that cannot be decoded."""
    why = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
    return UserError(
        f"cannot read the image {path} ({why}); replace it with an intact copy, or remove it"
    )


def _size(shape: tuple[int, ...]) -> str:
    height, width, _ = shape
    return f"{width}x{height}"
