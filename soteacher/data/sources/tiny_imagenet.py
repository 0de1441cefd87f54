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
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from soteacher.core.errors import UserError, few, only_in_one, shown
from soteacher.core.hashing import json_sha256
from soteacher.core.registry import register
from soteacher.data.archives import Archive, Folder, Tree, Zip
from soteacher.data.images import decoded, is_image
from soteacher.data.sources.base import ImageSet, Outline, PublishedSource
from soteacher.data.sources.image_folder import check_class_names

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("soteacher")

TOP = "tiny-imagenet-200"
N_CLASSES, N_TRAIN, N_TEST = 200, 500, 50
"""Number of classes of the whole data set, and of training and test images per class."""
SIDE = 64
MEAN, STD = (0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)
"""Values of the paper's code (dataset/imagenet.py)."""
ANNOTATIONS = "val_annotations.txt"
LAYOUT = (
    "train/<wnid>/images/* or train/<wnid>/*, and val/images/* with val/val_annotations.txt, "
    "val/<wnid>/images/* or val/<wnid>/*"
)
PROGRESS_SECONDS = 5.0
"""Time between two log lines about the progress of reading."""


class Listed(NamedTuple):
    """An image that is listed but not read yet."""

    name: str
    """Path of the image in the official layout, relative to the top folder."""
    label: int
    place: str
    """Path of the image in this copy."""


class Listing(NamedTuple):
    """All images of a copy, in order."""

    classes: tuple[str, ...]
    train: list[Listed]
    test: list[Listed]
    left_out: list[str]
    """Paths of files and folders among the images that are not images."""


@register
class TinyImagenet(PublishedSource):
    """Tiny-ImageNet, with the channel means and standard deviations of the paper's code.

    `path` may be the official archive, its unpacked folder, or a folder around it. The images of
    `val` may be in class folders, `val/<wnid>/images/*` or `val/<wnid>/*`, and those of `train` in
    `train/<wnid>/*`; the prepared data are the same. The file `wnids.txt` lists the classes; a
    folder may have fewer than 200 of them if `classes` gives their number. Classes are named by
    their WordNet ids and ordered by them, images by their names; grey images are converted to RGB.
    Files without the extension of an image are left out; the log of the preparation counts them.
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
                [
                    image.name,
                    listing.classes[image.label],
                    hashlib.sha256(folder.read(image.place)).hexdigest(),
                ]
                for image in (*listing.train, *listing.test)
            ]
        )

    def outline_of_images(self) -> Outline:
        """Return the sizes of the whole data set, or of the images that a folder lists."""
        folder = self._folder()
        if folder is None:
            n = N_CLASSES
            return Outline(n * N_TRAIN, n * N_TEST, SIDE, SIDE, n)
        listing = self._listing(folder)
        return Outline(len(listing.train), len(listing.test), SIDE, SIDE, len(listing.classes))

    def read(self) -> ImageSet:
        """Return all images, those of `val` as the test set."""
        tree: Tree | None = self._folder()
        if tree is None:
            self._check_archive(self._at_hand)
            tree = Zip(self._at_hand, TOP)
        classes, train, test, left_out = self._listing(tree)
        if left_out:
            log.info(
                "left out %d files and folders in %s that are not images of the data set, for "
                "example %s",
                len(left_out),
                self.path,
                shown(left_out[0]),
            )
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
        for levels in ("", "*/", "*/*/"):
            found = sorted(p.parent for p in place.glob(f"{levels}wnids.txt") if p.is_file())
            if len(found) > 1:
                raise UserError(
                    f"{shown(str(place))} contains several copies of Tiny-ImageNet: "
                    f"{few(map(str, found))}; set `path` to one of them"
                )
            if found:
                return Folder(found[0])
        raise UserError(
            f"no Tiny-ImageNet in {shown(str(place))}; expected wnids.txt (the WordNet ids of the "
            f"classes, one a line) and {LAYOUT} (other layouts: `source: image_folder`): correct "
            f"`path`, or remove it to download {self.archive.name}"
        )


def _listing(tree: Tree) -> Listing:
    """Return all images of a copy; raise `UserError` if its lists do not agree with its files."""
    classes = _classes(tree)
    left_out = [
        tree.where(f"{folder}/{name}")
        for folder in ("train", "val")
        for name in tree.names(folder).files
        if name != ANNOTATIONS
    ]
    train = [
        Listed(f"train/{wnid}/images/{name}", label, f"{place}/{name}")
        for label, wnid in enumerate(classes)
        for place, names in [_images_of(tree, f"train/{wnid}", left_out)]
        for name in names
    ]
    test = _validation(tree, classes, left_out)
    for place, images, n in (("train", train, N_TRAIN), ("val", test, N_TEST)):
        counts = Counter(image.label for image in images)
        for label, wnid in enumerate(classes):
            # a copy with fewer classes may also have fewer images; a full copy must be complete
            if counts[label] == 0 or (len(classes) == N_CLASSES and counts[label] != n):
                raise UserError(
                    f"{tree.where(place)} has {counts[label]} images of {wnid}, expected {n}: "
                    "the copy is not complete; copy or unpack it again"
                )
    return Listing(classes, train, test, left_out)


def _images_of(tree: Tree, folder: str, left_out: list[str]) -> tuple[str, list[str]]:
    """Return the folder with a class's images, `images` in its folder or that itself, and names."""
    found = {place: tree.names(place) for place in (f"{folder}/images", folder)}
    images = {
        place: names
        for place, inside in found.items()
        if (names := [name for name in inside.files if is_image(name)])
    }
    if len(images) > 1:
        raise UserError(
            f"{tree.where(folder)} has images ({few(images[folder])}) beside its folder 'images', "
            "which also has some; expected all images of a class in one folder: move them there"
        )
    for place, names in images.items():
        others = {*found[place].files, *found[place].folders} - {*names}
        left_out += [tree.where(f"{place}/{name}") for name in sorted(others)]
        return place, names
    return folder, []


def _classes(tree: Tree) -> tuple[str, ...]:
    """Return the sorted classes of `wnids.txt`; `train` must have exactly these folders."""
    listed = _lines(tree, "wnids.txt")
    where = tree.where("wnids.txt")
    twice = {wnid for wnid, n in Counter(listed).items() if n > 1}
    if twice:
        raise UserError(f"{where} lists {few(twice)} more than once; expected each class once")
    if len(listed) < 2:
        raise UserError(f"{where} lists {few(set(listed))}; expected at least two classes")
    check_class_names(listed, where)
    # a folder without images is not a class, whoever has created it
    folders = {
        name
        for name in tree.names("train").folders
        if name in listed or _images_of(tree, f"train/{name}", [])[1]
    }
    if folders != {*listed}:
        only_train, only_listed = only_in_one(folders, listed)
        raise UserError(
            f"{tree.where('train')} has other classes than {where} (only in train: "
            f"{only_train}; only in wnids.txt: {only_listed}): copy or unpack it again, or correct "
            "wnids.txt"
        )
    return tuple(sorted(listed))


def _validation(tree: Tree, classes: tuple[str, ...], left_out: list[str]) -> list[Listed]:
    """Return the images of `val`, in the order of their names.

    They are in `val/images`, with their classes in `val/val_annotations.txt`, or in class folders:
    many copies are changed in this way, and may have lost the annotations.
    """
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    found = tree.names("val/images")
    together = [name for name in found.files if is_image(name)]
    is_annotated = ANNOTATIONS in tree.names("val").files
    in_folders = {
        name for name in tree.names("val").folders if _images_of(tree, f"val/{name}", [])[1]
    } - {"images"}
    if together or not in_folders:
        if not is_annotated:
            raise UserError(
                f"{tree.where('val')} has no {ANNOTATIONS}, which gives the classes of the images "
                f"in its folder 'images'; expected {LAYOUT}: copy or unpack it again"
            )
        annotated = _annotated(tree, {*classes})
        if in_folders and {*annotated} != {*together}:
            raise UserError(
                f"{tree.where('val')} has images in its folder 'images' and in class folders "
                f"({few(in_folders)}); expected all of them in one of the two: move them, or copy "
                "or unpack it again"
            )
        left_out += [tree.where(f"val/{name}") for name in sorted(in_folders)]
        others = {*found.files, *found.folders} - {*together}
        left_out += [tree.where(f"val/images/{name}") for name in sorted(others)]
        _check_annotated(tree, annotated, together, "val/images")
        return [
            Listed(f"val/images/{name}", label_of[annotated[name]], f"val/images/{name}")
            for name in sorted(annotated)
        ]
    if in_folders - {*classes}:
        only_val, _ = only_in_one(in_folders, classes)
        raise UserError(
            f"{tree.where('val')} has folders of images whose names are not in wnids.txt: "
            f"{only_val}; expected {LAYOUT}: remove them, or copy or unpack it again"
        )
    images = []
    for wnid in classes:
        place, names = _images_of(tree, f"val/{wnid}", left_out)
        # named as in the official layout, so that equal images are equal data
        images += [Listed(f"val/images/{n}", label_of[wnid], f"{place}/{n}") for n in names]
    images.sort(key=lambda image: (image.name, image.label))
    if is_annotated:
        annotated = _annotated(tree, {*classes})
        by_name = {image.name.rpartition("/")[2]: image for image in images}
        _check_annotated(tree, annotated, by_name, "the class folders in val")
        wrong = [name for name, wnid in annotated.items() if by_name[name].label != label_of[wnid]]
        if wrong:
            raise UserError(
                f"{tree.where(f'val/{ANNOTATIONS}')} gives other classes than the folders in val "
                f"that have the images {few(wrong)}; copy or unpack it again, or remove the file "
                "if the folders are right"
            )
    return images


def _annotated(tree: Tree, classes: set[str]) -> dict[str, str]:
    """Return the classes of the images of `val`, by file name; each image is annotated once."""
    where = tree.where(f"val/{ANNOTATIONS}")
    annotated: dict[str, str] = {}
    for line in _lines(tree, f"val/{ANNOTATIONS}"):
        name, *rest = line.split("\t")  # then the class, and a box
        if not rest or rest[0] not in classes:
            raise UserError(
                f"{where} has the line {shown(ascii(line))}; expected an image, a tab and a class "
                "of wnids.txt"
            )
        if name in annotated:
            raise UserError(f"{where} has {shown(name)} more than once; expected each image once")
        annotated[name] = rest[0]
    return annotated


def _check_annotated(
    tree: Tree, annotated: Collection[str], images: Collection[str], place: str
) -> None:
    if {*images} != {*annotated}:
        only_annotated, only_there = only_in_one(annotated, images)
        raise UserError(
            f"{tree.where(f'val/{ANNOTATIONS}')} lists other images than {place} has (only "
            f"annotated: {only_annotated}; only in {place}: {only_there}): copy or unpack it again"
        )


def _lines(tree: Tree, name: str) -> list[str]:
    try:
        text = tree.read(name).decode("utf-8-sig")  # editors of Windows put a mark first
    except UnicodeDecodeError as error:
        raise UserError(
            f"{tree.where(name)} is not UTF-8 text (byte {error.start + 1}): save it as UTF-8, or "
            "copy or unpack it again"
        ) from None
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
        row[:] = _pixels(tree, image.place)
    return pixels, np.array([image.label for image in images], dtype=np.int64)


def _pixels(tree: Tree, place: str) -> np.ndarray:
    """Return one image, uint8, (64, 64, 3)."""
    import numpy as np

    where = tree.where(place)

    def check(width: int, height: int) -> None:
        if (width, height) != (SIDE, SIDE):
            raise UserError(
                f"{where} has {width}x{height} pixels, expected {SIDE}x{SIDE}: copy or unpack it "
                "again, or use `source: image_folder` for other images"
            )

    with decoded(io.BytesIO(tree.read(place)), where, check) as image:
        return np.asarray(image.convert("RGB"))
