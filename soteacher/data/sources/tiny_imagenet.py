"""Tiny-ImageNet: 64x64 images of 200 classes, 500 of each for training and 50 for validation.

Y. Le and X. Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS 231N, 2015. The images
in the archive's folder `test` have no labels. As is usual, and in the paper, `val` is the test set.
"""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from soteacher.core.errors import UserError, few
from soteacher.core.hashing import json_sha256
from soteacher.core.registry import register
from soteacher.data.archives import Archive, Folder, Tree, Zip
from soteacher.data.sources.base import ImageSet, Outline, PublishedSource
from soteacher.data.sources.image_folder import unreadable

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("soteacher")

TOP = "tiny-imagenet-200"
N_CLASSES, N_TRAIN, N_TEST = 200, 500, 50
"""Number of classes of the whole data set, and of training and test images per class."""
SIDE = 64
MEAN, STD = (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)
"""Values of the paper's code (dataset/imagenet.py)."""
PROGRESS_SECONDS = 5.0
"""Time between two log lines about the progress of reading."""


class Listed(NamedTuple):
    """An image that is listed but not read yet."""

    name: str
    """Path of the image, relative to the top folder."""
    label: int


class Listing(NamedTuple):
    """All images of a copy, in order."""

    classes: tuple[str, ...]
    train: list[Listed]
    test: list[Listed]


@register
class TinyImagenet(PublishedSource):
    """Tiny-ImageNet, with the channel means and standard deviations of the paper's code.

    `path` may be the official archive, its unpacked folder, or the parent of that folder. The file
    `wnids.txt` lists the classes; a folder may have fewer than 200 of them if `classes` gives their
    number. Classes are named by their WordNet ids and ordered by them, images by their names; grey
    images are converted to RGB.
    """

    classes: int = Field(N_CLASSES, ge=2)
    """Number of classes. Fewer than the 200 of the whole data set make a different data set."""

    archive = Archive(
        f"{TOP}.zip",
        f"http://cs231n.stanford.edu/{TOP}.zip",
        size=248_100_043,
        md5="90528d7ca1a48142e341f4ef8d21d0de",
    )

    def content_key(self) -> str | None:
        """Return a hash of a folder's images and their classes; the archive has one content."""
        folder = self._folder()
        if folder is None:
            return None
        listing = self._listing(folder)
        return json_sha256(
            [
                [name, listing.classes[label], hashlib.sha256(folder.read(name)).hexdigest()]
                for name, label in (*listing.train, *listing.test)
            ]
        )

    def outline(self) -> Outline:
        """Return the sizes of the whole data set, or of the images that a folder lists."""
        folder = self._folder()
        if folder is None:
            n = N_CLASSES
            return Outline(n * N_TRAIN, n * N_TEST, SIDE, SIDE, n)
        classes, train, test = self._listing(folder)
        return Outline(len(train), len(test), SIDE, SIDE, len(classes))

    def read(self) -> ImageSet:
        """Return all images, those of `val` as the test set."""
        tree: Tree | None = self._folder()
        if tree is None:
            self._check_archive(self._at_hand)
            tree = Zip(self._at_hand, TOP)
        classes, train, test = self._listing(tree)
        log.info("reading %d training and %d test images of %s", len(train), len(test), self.path)
        return ImageSet(
            *_read(tree, train), *_read(tree, test), classes=classes, mean=MEAN, std=STD
        )

    def _listing(self, tree: Tree) -> Listing:
        listing = _listing(tree)
        if (listed := len(listing.classes)) != self.classes:
            raise UserError(
                f"{tree.where('wnids.txt')} lists {listed} classes, expected {self.classes}: set "
                f"`classes: {listed}` to use these, or give all of Tiny-ImageNet"
            )
        return listing

    def _folder(self) -> Folder | None:
        """Return the folder at `path` that contains `wnids.txt`; None for an archive."""
        place = self._place
        if place is None or place.is_file():
            return None
        if (place / "wnids.txt").is_file():
            return Folder(place)
        inner = sorted(path.parent for path in place.glob("*/wnids.txt"))
        if len(inner) == 1:
            return Folder(inner[0])
        raise UserError(
            f"no Tiny-ImageNet in {place}; expected wnids.txt, train/<wnid>/images/*, val/images/* "
            "and val/val_annotations.txt (other layouts: `source: image_folder`): correct `path`, "
            f"or remove it to download {self.archive.name}"
        )


def _listing(tree: Tree) -> Listing:
    """Return all images of a copy; raise `UserError` if its lists do not agree with its files."""
    classes = _classes(tree)
    train = [
        Listed(f"train/{wnid}/images/{name}", label)
        for label, wnid in enumerate(classes)
        for name in tree.names(f"train/{wnid}/images")
    ]
    annotated = _annotated(tree, set(classes))
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    test = [Listed(f"val/images/{name}", label_of[annotated[name]]) for name in sorted(annotated)]
    for place, images, n in (("train", train, N_TRAIN), ("val", test, N_TEST)):
        counts = Counter(image.label for image in images)
        for label, wnid in enumerate(classes):
            # a copy with fewer classes may also have fewer images; a full copy must be complete
            if counts[label] == 0 or (len(classes) == N_CLASSES and counts[label] != n):
                raise UserError(
                    f"{tree.where(place)} has {counts[label]} images of {wnid}, expected {n}: "
                    "the copy is not complete; copy or unpack it again"
                )
    return Listing(classes, train, test)


def _classes(tree: Tree) -> tuple[str, ...]:
    """Return the sorted classes of `wnids.txt`; `train` must have exactly these folders."""
    listed = _lines(tree, "wnids.txt")
    where = tree.where("wnids.txt")
    twice = {wnid for wnid, n in Counter(listed).items() if n > 1}
    if twice:
        raise UserError(f"{where} lists {few(twice)} more than once; expected each class once")
    if len(listed) < 2:
        raise UserError(f"{where} lists {few(set(listed))}; expected at least two classes")
    folders = set(tree.names("train", folders=True))
    if folders != set(listed):
        raise UserError(
            f"{tree.where('train')} has other classes than {where} (only in train: "
            f"{few(folders - set(listed))}; only in wnids.txt: {few(set(listed) - folders)}): copy "
            "or unpack it again, or correct wnids.txt"
        )
    return tuple(sorted(listed))


def _annotated(tree: Tree, classes: set[str]) -> dict[str, str]:
    """Return the classes of the images of `val`, by file name; each image is annotated once."""
    where = tree.where("val/val_annotations.txt")
    annotated: dict[str, str] = {}
    for line in _lines(tree, "val/val_annotations.txt"):
        name, *rest = line.split("\t")  # then the class, and a box
        if not rest or rest[0] not in classes:
            raise UserError(
                f"{where} has the line {line!r}; expected an image, a tab and a class of wnids.txt"
            )
        if name in annotated:
            raise UserError(f"{where} has {name} more than once; expected each image once")
        annotated[name] = rest[0]
    images = set(tree.names("val/images"))
    if images != annotated.keys():
        raise UserError(
            f"{where} lists other images than val/images has (only annotated: "
            f"{few(annotated.keys() - images)}; only in val/images: "
            f"{few(images - annotated.keys())}): copy or unpack it again"
        )
    return annotated


def _lines(tree: Tree, name: str) -> list[str]:
    text = tree.read(name).decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _read(tree: Tree, images: Sequence[Listed]) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8, (N, 64, 64, 3), and labels, int64, (N,)."""
    import numpy as np

    pixels = np.empty((len(images), SIDE, SIDE, 3), dtype=np.uint8)
    logged = time.monotonic()
    for done, (row, image) in enumerate(zip(pixels, images, strict=True)):
        if time.monotonic() - logged >= PROGRESS_SECONDS:
            logged = time.monotonic()
            log.info("%d of %d images are read", done, len(images))
        row[:] = _pixels(tree, image.name)
    return pixels, np.array([image.label for image in images], dtype=np.int64)


def _pixels(tree: Tree, name: str) -> np.ndarray:
    """Return one image, uint8, (64, 64, 3)."""
    import numpy as np
    from PIL import Image

    data = tree.read(name)
    try:
        with Image.open(io.BytesIO(data)) as opened:
            image = opened.convert("RGB")
    except Exception as error:  # a decoder may raise anything on broken bytes
        raise unreadable(tree.where(name), error) from error
    if image.size != (SIDE, SIDE):
        raise UserError(
            f"{tree.where(name)} has {image.width}x{image.height} pixels, expected {SIDE}x{SIDE}: "
            "copy or unpack it again, or use `source: image_folder` for other images"
        )
    return np.asarray(image)
