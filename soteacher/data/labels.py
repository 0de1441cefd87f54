"""Checks of labels that come from files."""

from __future__ import annotations

from collections.abc import Sequence

from soteacher.core.errors import UserError, few
from soteacher.core.lazy import numpy as np

MOST_CLASSES = 1 << 16
"""Number of classes above which labels without names are taken for a mistake."""


def checked_labels(labels: np.ndarray, n_images: int, where: str) -> np.ndarray:
    """Return labels as int64, (N,).

    labels : whole numbers from 0, (N,) or (N, 1).   where : what messages call them.
    """
    if labels.dtype.kind not in "iu":
        raise UserError(
            f"{where} has values of {labels.dtype}; expected whole numbers, the classes from 0: "
            "convert it, for example with .astype('int64')"
        )
    if labels.shape not in ((n_images,), (n_images, 1)):
        raise UserError(
            f"{where} has the shape {labels.shape}; expected {(n_images,)}, one label for each "
            "image: save images and labels of the same set"
        )
    if n_images and (low := int(labels.min())) < 0:
        raise UserError(
            f"{where} has the label {low}; expected classes from 0: leave out images without a "
            "label, or correct it"
        )
    if n_images and int(labels.max()) > np.iinfo(np.int64).max:
        raise UserError(
            f"{where} has the label {labels.max()}; expected classes from 0: correct it"
        )
    return labels.reshape(n_images).astype(np.int64)


def check_classes(train: np.ndarray, test: np.ndarray, classes: Sequence[str], where: str) -> None:
    """Raise `UserError` unless labels are below the number of classes, and all are trained on.

    train, test : int64, (N,) and (M,).   where : what messages call the data set.
    """
    n_classes = len(classes)
    if n_classes < 2:
        raise UserError(f"{where} has {n_classes} class; expected at least two: correct the labels")
    for split, labels in (("training", train), ("test", test)):
        if (high := int(labels.max())) >= n_classes:
            raise UserError(
                f"{where} has the {split} label {high}; expected labels from 0 to {n_classes - 1}, "
                f"because it has {n_classes} classes: correct the labels or the classes"
            )
    counts = np.bincount(train, minlength=n_classes)
    if missing := [classes[label] for label in np.flatnonzero(counts == 0).tolist()]:
        raise UserError(
            f"{where} has no training image of the class {few(missing)}; expected training images "
            "of every class, numbered from 0 without a gap: renumber the labels or add images"
        )


def numbered(train: np.ndarray, test: np.ndarray, where: str) -> tuple[str, ...]:
    """Return the names `0`, `1`, ... of classes without names: as many as the largest label asks.

    train, test : int64, (N,) and (M,).   where : what messages call the data set.
    """
    if (n_classes := int(max(train.max(), test.max())) + 1) > MOST_CLASSES:
        raise UserError(
            f"{where} has the label {n_classes - 1}; expected classes from 0 without a gap, at "
            f"most {MOST_CLASSES:,}: renumber the labels"
        )
    return tuple(str(label) for label in range(n_classes))
