"""Known true label distributions: they make a teacher's distance from p*(x), Eq. (2), measurable.

The labels of a data set are drawn from a given confusion between look-alike classes, or from a file
of counts (`soteacher.data.counts`), so the true distribution of every image is known.
"""

from __future__ import annotations

from soteacher.core.errors import UserError
from soteacher.core.lazy import numpy as np
from soteacher.data.settings import TrueLabels
from soteacher.data.sources.base import ImageSet


def of_look_alikes(images: ImageSet, known: TrueLabels) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return `train_truth` and `test_truth`, (N, K), and the look-alikes of each class, (K, n).

    Raises `UserError` if the settings give more shares than a class has look-alikes.
    """
    n_classes, n = len(images.classes), len(known.split)
    if n >= n_classes:
        raise UserError(
            f"true_labels.split has {n} shares, but with {n_classes} classes a class has only "
            f"{n_classes - 1} look-alikes: give at most {n_classes - 1} shares"
        )
    near = look_alikes(images.train_images, images.train_labels, n_classes, n)
    labels = {"train_truth": images.train_labels, "test_truth": images.test_labels}
    truths = {
        name: distributions(classes, near, known.confusion, known.split)
        for name, classes in labels.items()
    }
    return truths, near


def look_alikes(images: np.ndarray, labels: np.ndarray, n_classes: int, n: int) -> np.ndarray:
    """Return the `n` nearest other classes of each class by mean images; (K, n) int64."""
    flat = images.reshape(len(images), -1)
    means = np.stack(
        [flat[labels == k].mean(axis=0, dtype=np.float64) for k in range(n_classes)]
    )  # (K, H*W*3)
    # row by row: all differences at once are (K, K, H*W*3)
    distances = np.stack([np.linalg.norm(mean - means, axis=-1) for mean in means])  # (K, K)
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :n]


def distributions(
    labels: np.ndarray, neighbours: np.ndarray, confusion: float, split: tuple[float, ...]
) -> np.ndarray:
    """Return p* of images with these true classes; (N, K) float64."""
    n_classes = len(neighbours)
    by_class = np.eye(n_classes) * (1 - confusion)
    for shares, near in zip(by_class, neighbours, strict=True):
        shares[near] += confusion * np.asarray(split)
    return by_class[labels]


def draw(truth: np.ndarray, number: int) -> np.ndarray:
    """Draw one label per image from its distribution; `number` is a key; (N,) int64."""
    uniform = np.random.Generator(np.random.PCG64(number)).random(len(truth))
    labels = (np.cumsum(truth, axis=1) <= uniform[:, None]).sum(axis=1)
    return np.minimum(labels, truth.shape[1] - 1).astype(np.int64)  # sums may round below 1
