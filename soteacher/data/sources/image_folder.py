"""Your images in class folders: `train/<class>/*` and `test/<class>/*`."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from soteacher.core.errors import Missing, UserError, few, only_in_one, shown
from soteacher.core.hashing import json_sha256
from soteacher.core.registry import register
from soteacher.data.images import EXTENSIONS, is_image, pixels, same_size, unreadable
from soteacher.data.places import Contents, check_place, contents, open_regular
from soteacher.data.sources.base import ImageSet, Outline, Place, Source, expanded

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("soteacher")

LAYOUT = "expected train/<class>/* and test/<class>/* below `path`"
SPLITS = ("train", "test")


class Listing(NamedTuple):
    """The images of a folder, listed but not read."""

    splits: dict[str, dict[str, list[Path]]]
    """Split to class to its images, in order."""
    left_out: list[Path]
    """Files that are not named like images, and folders in class folders."""


@register
class ImageFolder(Source):
    """Class folders of images, `train/<class>/*` and `test/<class>/*`, of any size and colour.

    Classes are ordered by name, and so are the images of a class. Hidden files, folders inside a
    class folder and files without the extension of an image (bmp, jpeg, jpg, pgm, png, ppm, tif,
    tiff, webp) are left out; the log of the preparation counts them. Images are turned by their
    EXIF orientation; grey and palette images are converted to RGB, transparent images are put on
    white, and only the first frame of an image is used. Images of more than 8 bits per channel, of
    floats, of another format, or of more than 67 million pixels (8192x8192) are an error, and so is
    what is neither a file nor a folder, for example a FIFO.
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
        for path in _paths(self._listing()):
            try:
                with open_regular(path) as file:
                    hashes[path.relative_to(self._folder).as_posix()] = hashlib.file_digest(
                        file, "sha256"
                    ).hexdigest()
            except OSError as error:
                raise unreadable(str(path), error) from error
        return json_sha256(hashes)

    def outline_of_images(self) -> Outline:
        """Return the sizes; files are counted, and without `size` the first image is read."""
        listing = self._listing()
        train, test = (_paths(listing, split) for split in SPLITS)
        if self.size is None:
            height, width, _ = self._pixels(train[0]).shape
        else:
            height = width = self.size
        return Outline(len(train), len(test), height, width, len(listing.splits["train"]))

    def read(self) -> ImageSet:
        """Return all images, ordered by the names of their classes, then by their own names."""
        import numpy as np

        listing = self._listing()
        if listing.left_out:
            log.info(
                "left out %d files and folders in %s that are not images, for example %s",
                len(listing.left_out),
                shown(str(self._folder)),
                shown(str(listing.left_out[0])),
            )
        first = _paths(listing)[0]
        shape = self._pixels(first).shape
        arrays: dict[str, Any] = {}
        for split, classes in listing.splits.items():
            paths = _paths(listing, split)
            log.info("reading %d images from %s", len(paths), shown(str(self._folder / split)))
            images = np.empty((len(paths), *shape), dtype=np.uint8)  # (N, H, W, 3)
            for row, path in zip(images, paths, strict=True):
                row[:] = same_size(self._pixels(path), shape, str(path), str(first))
            counts = [len(images_of_class) for images_of_class in classes.values()]
            arrays[f"{split}_images"] = images
            names = [path.relative_to(self._folder).as_posix() for path in paths]
            arrays[f"{split}_names"] = tuple(names)
            arrays[f"{split}_labels"] = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        return ImageSet(**arrays, classes=tuple(listing.splits["train"]))

    @property
    def _folder(self) -> Path:
        return expanded(self.path)

    def _listing(self) -> Listing:
        folder = self._folder
        check_place(folder)
        if not os.path.isdir(folder):
            error = UserError if os.path.exists(folder) else Missing
            raise error(
                f"{shown(str(folder))} is not a folder (working directory: {Path.cwd()}); "
                f"{LAYOUT}: correct `path`"
            )
        for split in SPLITS:
            check_place(folder / split)
            if not os.path.isdir(folder / split):
                raise UserError(
                    f"no folder '{split}' in {shown(str(folder))}; {LAYOUT}: create it, or correct "
                    f"`path`{_other_source(folder)}"
                )
        found = {split: contents(folder / split) for split in SPLITS}
        self._check_classes(*(found[split].folders for split in SPLITS))
        splits: dict[str, dict[str, list[Path]]] = {}
        left_out = []
        for split, (classes, files) in found.items():
            left_out += [folder / split / name for name in files]
            splits[split] = {}
            for name in classes:
                place = folder / split / name
                inside = contents(place)
                splits[split][name] = [place / file for file in inside.files if is_image(file)]
                left_out += [place / file for file in inside.files if not is_image(file)]
                left_out += [place / inner for inner in inside.folders]
                if not splits[split][name]:
                    raise UserError(
                        f"no image in the class folder {shown(str(place))}; expected files that "
                        f"end in {', '.join(EXTENSIONS)}: {_remedy(place, inside)}"
                        f"{_other_source(folder)}"
                    )
        return Listing(splits, left_out)

    def _check_classes(self, train: list[str], test: list[str]) -> None:
        folder = shown(str(self._folder))
        if train != test:
            only_train, only_test = only_in_one(train, test)
            raise UserError(
                f"{folder} has different classes in train and in test (only in train: "
                f"{only_train}; only in test: {only_test}): give both the same class folders"
                f"{_other_source(self._folder)}"
            )
        if len(train) < 2:
            raise UserError(
                f"expected at least two classes in {folder}/train, got {few(train)}; {LAYOUT}: "
                "add class folders, or correct `path`"
            )
        check_class_names(train, f"{folder}/train")

    def _pixels(self, path: Path) -> np.ndarray:
        """Return one image, resized and cropped, uint8, (H, W, 3)."""
        try:
            file = open_regular(path)
        except OSError as error:
            raise unreadable(str(path), error) from error
        with file:
            return pixels(file, str(path), self.size)


def check_class_names(names: list[str], where: str) -> None:
    """Raise `UserError` if the name of a class has a line break, a control character or no text."""
    bad = [
        name
        for name in names
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)
    ]
    if bad:
        raise UserError(
            f"{where} has class names with control characters, line breaks or bytes that are not "
            f"UTF-8: {few(bad)}; expected names of one line of text: rename them"
        )
    if blank := [name for name in names if not name.strip()]:
        raise UserError(
            f"{where} has class names without text: {few(blank)}; expected names of one line of "
            "text: give these classes a name"
        )


def _remedy(place: Path, inside: Contents) -> str:
    """Return what to do about a class folder without images."""
    for name in inside.folders:
        if any(is_image(file) for file in contents(place / name).files):
            return f"its images are in its folder {shown(name)}: move them up"
    return "add images, or remove the class from train and test"


def _other_source(folder: Path) -> str:
    """Return a hint if the folder looks like Tiny-ImageNet, or an empty text."""
    if os.path.exists(folder / "wnids.txt") or os.path.exists(folder / "val/val_annotations.txt"):
        if os.path.isdir(folder / "val"):
            return "; this looks like Tiny-ImageNet, which `source: tiny_imagenet` reads as it is"
        return (
            "; this looks like Tiny-ImageNet: name the folder of the labelled test images 'val' "
            "and use `source: tiny_imagenet`"
        )
    if os.path.isdir(folder / "val") and not os.path.isdir(folder / "test"):
        return "; if the folder 'val' has the test images, rename it to 'test'"
    return ""


def _paths(listing: Listing, *splits: str) -> list[Path]:
    """Return the images of some splits, or of all, in order."""
    chosen = [listing.splits[split] for split in splits or SPLITS]
    return [path for classes in chosen for paths in classes.values() for path in paths]
