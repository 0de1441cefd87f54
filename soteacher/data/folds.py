"""Folds of the training images: stratified by class, drawn for each seed, of almost equal sizes."""

from __future__ import annotations

from soteacher.core.lazy import numpy as np
from soteacher.core.random import key, numpy_generator

FOLDS = 1
"""Revision of the folds and of their uses. Increase it if the same settings give other bits."""


def fold_sizes(n_images: int, n_folds: int) -> tuple[int, ...]:
    """Return the number of images in each fold; it does not depend on their classes."""
    return tuple(n_images // n_folds + (fold < n_images % n_folds) for fold in range(n_folds))


def folds_of(labels: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each training image, (N,) int64, from 0 to `n_folds` - 1.

    The images are sorted by class, in a random order within each class, and dealt to the folds in
    turn. So each class has almost the same number of images in every fold: they differ by at most
    one, as the sizes of the folds do.

    labels : (N,), the labels that the teacher of this seed is trained with.
    """
    draws = numpy_generator(key(seed, "teacher", "folds")).random(len(labels))
    folds = np.empty(len(labels), dtype=np.int64)
    folds[np.lexsort((draws, labels))] = np.arange(len(labels)) % n_folds
    return folds
