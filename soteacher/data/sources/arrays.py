"""Images in arrays of NumPy: an .npz file, or a folder of .npy files."""

from __future__ import annotations

import logging
from typing import Any

from soteacher.core.errors import UserError, shown
from soteacher.core.lazy import numpy as np
from soteacher.core.registry import register
from soteacher.data.array_files import ArrayFiles
from soteacher.data.labels import check_classes, checked_labels, numbered
from soteacher.data.sources.base import ImageSet, Outline, Place, Source, expanded
from soteacher.data.sources.image_folder import check_class_names

log = logging.getLogger("soteacher")

NEEDED = ("train_images", "train_labels", "test_images", "test_labels")
CLASSES = "classes"
TRUTHS = ("train_truth", "test_truth")
"""Arrays that only `true_labels` reads."""
LAYOUT = "expected uint8, (N, H, W, 3) or (N, H, W) for grey"


@register
class Arrays(Source):
    """Images in arrays `train_images`, `train_labels`, `test_images` and `test_labels`.

    They are in one .npz file, or in .npy files of these names in one folder. Images are uint8, red,
    green and blue, (N, H, W, 3), or grey, (N, H, W) or (N, H, W, 1). Labels are whole numbers from
    0, (N,) or (N, 1). An array `classes` can name the classes, as texts in the order of the labels.
    Other arrays are left out; the log of the preparation names them. Arrays of Python objects
    (pickles) are an error.
    """

    located_by = ("path",)
    copies = 2  # grey images are copied to three channels

    path: Place
    """Path of the .npz file or of the folder of .npy files, relative to the working directory. The
    path is not part of a run's spec: equal arrays elsewhere are the same data set."""

    def content_key(self) -> str:
        """Return a hash of the arrays' bytes; it is the same for an .npz file and a folder."""
        return self._files().content_key((*NEEDED, CLASSES))

    def outline_of_images(self) -> Outline:
        """Return the sizes; the labels are read, of the images only shape and type."""
        files = self._files()
        (n_train, height, width), (n_test, *_) = self._shapes(files)
        train, test = self._labels(files, n_train, n_test)
        return Outline(n_train, n_test, height, width, len(self._classes(files, train, test)))

    def read(self) -> ImageSet:
        """Return all images, in their order in the arrays."""
        files = self._files()
        (n_train, *_), (n_test, *_) = self._shapes(files)
        train, test = self._labels(files, n_train, n_test)
        classes = self._classes(files, train, test)
        check_classes(train, test, classes, shown(self.path))
        others = sorted({*files.names()} - {*NEEDED, CLASSES, *TRUTHS})
        if others:
            log.info("left out the arrays %s of %s", ", ".join(others), shown(self.path))
        log.info("reading %d training and %d test images of %s", n_train, n_test, shown(self.path))
        return ImageSet(
            train_images=_coloured(files.load("train_images")),
            train_labels=train,
            test_images=_coloured(files.load("test_images")),
            test_labels=test,
            classes=classes,
        )

    def _files(self) -> ArrayFiles:
        files = ArrayFiles(expanded(self.path), "path")
        if missing := [name for name in NEEDED if name not in files.names()]:
            raise UserError(
                f"{shown(self.path)} has no array {', '.join(missing)}; expected the arrays "
                f"{', '.join(NEEDED)} in an .npz file or as .npy files in a folder: add it, for "
                "example with np.savez"
            )
        return files

    def _shapes(self, files: ArrayFiles) -> list[tuple[int, int, int]]:
        """Return (N, H, W) of the training and the test images."""
        shapes = [_shape(files, name) for name in ("train_images", "test_images")]
        train, test = shapes
        if train[1:] != test[1:]:
            raise UserError(
                f"{shown(self.path)} has training images of {train[2]}x{train[1]} pixels and test "
                f"images of {test[2]}x{test[1]}; expected images of one size: resize them"
            )
        return shapes

    def _labels(self, files: ArrayFiles, *counts: int) -> list[np.ndarray]:
        names = ("train_labels", "test_labels")
        labels = []
        for name, n in zip(names, counts, strict=True):
            labels.append(checked_labels(files.load(name), n, files.where(name)))
        return labels

    def _classes(self, files: ArrayFiles, train: np.ndarray, test: np.ndarray) -> tuple[str, ...]:
        if CLASSES not in files.names():
            return numbered(train, test, shown(self.path))
        names, where = files.load(CLASSES), files.where(CLASSES)
        if names.dtype.kind != "U" or names.ndim != 1 or len({*names.tolist()}) != len(names):
            raise UserError(
                f"{where} has values of {names.dtype} and the shape {names.shape}; expected "
                "different texts, one for each class: save np.array([...], dtype='U')"
            )
        classes = tuple(names.tolist())
        check_class_names(list(classes), where)
        return classes


def _shape(files: ArrayFiles, name: str) -> tuple[int, int, int]:
    """Return (N, H, W) of the images of an array."""
    shape, dtype = files.header(name)
    where = files.where(name)
    if dtype != np.uint8:
        raise UserError(
            f"{where} has values of {dtype}; {LAYOUT}, from 0 to 255: scale and round them, for "
            "example np.rint(images * 255).astype('uint8') for pixels from 0 to 1"
        )
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        channels_first = len(shape) == 4 and shape[1] in (1, 3)
        advice = (
            "move the channels, images.transpose(0, 2, 3, 1)" if channels_first else "reshape it"
        )
        raise UserError(f"{where} has the shape {shape}; {LAYOUT}: {advice}")
    if 0 in shape:
        raise UserError(f"{where} has the shape {shape}, without a pixel; {LAYOUT}: add images")
    return shape[0], shape[1], shape[2]


def _coloured(images: np.ndarray) -> np.ndarray:
    """Return images with three channels, (N, H, W, 3); grey is repeated."""
    if images.ndim == 3:
        images = images[..., None]  # (N, H, W) -> (N, H, W, 1)
    shape: Any = (*images.shape[:3], 3)
    return np.ascontiguousarray(np.broadcast_to(images, shape))
