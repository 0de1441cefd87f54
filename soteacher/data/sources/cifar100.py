"""CIFAR-100: 32x32 images of a hundred classes, 500 of each for training and 100 for testing.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.data.archives import Archive, Folder, md5_of, read_tar
from soteacher.data.sources.base import ImageSet, Outline, PublishedSource
from soteacher.data.sources.image_folder import ImageFolder

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger("soteacher")

TOP = "cifar-100-python"
MEMBERS = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
"""The files of the archive and their md5."""
SIZES = Outline(50_000, 10_000, height=32, width=32, n_classes=100)
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
"""Values of the paper's code (dataset/cifar100.py)."""


@register
class Cifar100(PublishedSource):
    """CIFAR-100, with the channel means and standard deviations of the paper's code.

    `path` may be the official archive, its unpacked folder or the parent of that folder, or class
    folders of all the images, `train/<class>/*` and `test/<class>/*`. Class folders are ordered by
    name, so runs on them differ from runs on the official files.
    """

    copies = 3  # as bytes of a file, unpickled, and with the channels last
    archive = Archive(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        size=169_001_437,
        md5="eb9058c3a382ffc7106e4002c42a8d85",
    )

    def content_key(self) -> str | None:
        """Return a hash of the images of class folders; official files have one content."""
        folders = self._class_folders()
        return None if folders is None else folders.content_key()

    def outline_of_images(self) -> Outline:
        """Return the sizes of CIFAR-100, which `read` checks."""
        return SIZES

    def read(self) -> ImageSet:
        """Return all images, in the order of the official files or of names in class folders."""
        folders = self._class_folders()
        if folders is not None:
            return _whole(folders)
        train, test, meta = (_unpickled(data) for data in self._official())
        return ImageSet(
            *_split(train),
            *_split(test),
            classes=tuple(meta["fine_label_names"]),
            mean=MEAN,
            std=STD,
        )

    def _class_folders(self) -> ImageFolder | None:
        """Return the class folders at `path`, or None if `path` is not class folders."""
        place = self._place
        if place is None or place.is_file() or _official_folder(place) is not None:
            return None
        if all((place / split).is_dir() for split in ("train", "test")):
            return ImageFolder(path=str(place))
        raise UserError(
            f"no CIFAR-100 in {place}; expected the folder {TOP}, or train/<class>/* and "
            f"test/<class>/*: correct `path`, or remove it to download {self.archive.name}"
        )

    def _official(self) -> list[bytes]:
        """Return the official files at `path`; each is checked."""
        place = self._at_hand
        log.info("reading %s", place)
        if place.is_file():
            self._check_archive(place)
            contents = read_tar(place, [f"{TOP}/{name}" for name in MEMBERS])
        else:
            folder = Folder(_official_folder(place) or place)
            contents = {f"{TOP}/{name}": folder.read(name) for name in MEMBERS}
        for name, md5 in MEMBERS.items():
            data = contents.get(f"{TOP}/{name}")
            if data is None or md5_of(data) != md5:
                what = "missing" if data is None else "not the official one"
                raise UserError(
                    f"the file {name} of {place} is {what}; put the official file (md5 {md5}) "
                    "there, or remove `path` to download it"
                )
        return [contents[f"{TOP}/{name}"] for name in MEMBERS]


def _official_folder(place: Path) -> Path | None:
    """Return the folder with the official files, if it is this folder or a folder in it."""
    for folder in (place, place / TOP):
        if any((folder / name).is_file() for name in MEMBERS):
            return folder
    return None


def _whole(folders: ImageFolder) -> ImageSet:
    """Return the images of class folders; raise `UserError` unless they are all of CIFAR-100."""
    import numpy as np

    sizes = folders.outline()
    description = _describe(sizes)
    if sizes == SIZES:
        images = folders.read()
        labels = (images.train_labels, images.test_labels)
        if all(np.ptp(np.bincount(split)) == 0 for split in labels):
            return dataclasses.replace(images, mean=MEAN, std=STD)
        description += ", with different numbers of images per class"
    raise UserError(
        f"CIFAR-100 has {_describe(SIZES)}; {folders.path} has {description}: give the whole data "
        "set, or use `source: image_folder` for other images"
    )


def _describe(sizes: Outline) -> str:
    return (
        f"{sizes.n_train} training and {sizes.n_test} test images of {sizes.width}x{sizes.height} "
        f"pixels in {sizes.n_classes} classes"
    )


def _split(batch: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8, (N, 32, 32, 3), and labels, int64, (N,), of an official file."""
    import numpy as np

    planes = batch["data"].reshape(-1, 3, SIZES.height, SIZES.width)  # (N, 3072): red first
    images = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
    return images, np.array(batch["fine_labels"], dtype=np.int64)


def _unpickled(data: bytes) -> dict[str, Any]:
    return _Restricted(io.BytesIO(data), encoding="latin1").load()  # written by Python 2


class _Restricted(pickle.Unpickler):
    """Unpickles the objects of the official files (also numpy arrays), and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the equivalent of a name of an old numpy; raise `UserError` for other names."""
        import numpy as np

        known = {
            "numpy.core.multiarray._reconstruct": lambda _, shape, code: np.ndarray(shape, code),
            "numpy.ndarray": np.ndarray,
            # numpy 2.4 warns of the old files' 0 and 1 for False and True
            "numpy.dtype": lambda code, *flags: np.dtype(code, *map(bool, flags)),
        }
        try:
            return known[f"{module}.{name}"]
        except KeyError:
            raise UserError(
                f"a file of CIFAR-100 is refused: it needs {module}.{name}; use the official file"
            ) from None
