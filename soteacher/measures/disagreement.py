"""Tenths of the training images, by how much the true label distributions p* disagree.

Where p* is made of the labels of many people, it is near one-hot on most images. A mean over all
images then hides what a network predicts on the few images that people disagree about.
"""

from __future__ import annotations

import numpy as np

from soteacher.measures.distance import siblings

TENTHS = 10
LIKE_DECIMALS = 1
"""Images are alike if their p* agree after rounding to this number of decimals."""
CERTAINTY_DECIMALS = 9
"""Certainties that agree to this number of decimals count as equal: the rest is rounding."""


def certainty(truth: np.ndarray) -> np.ndarray:
    """Return the largest probability of each image's p*, (N,); 1 if all people agree.

    truth : p*, (N, K).
    """
    return truth.max(axis=1).round(CERTAINTY_DECIMALS)


def entropy(truth: np.ndarray) -> np.ndarray:
    """Return the entropy of each image's p* in nats, (N,).

    truth : p*, (N, K).
    """
    return -(truth * np.log(np.where(truth > 0, truth, 1))).sum(axis=1)


def tenths(truth: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the images in each tenth, from most agreement to least.

    The images are ordered by the largest probability of p*; images with the same one stay in their
    order. If N is no multiple of ten, the first tenths have one image more. The list is empty if
    all images are equally certain, as with one confusion for all classes, or if there are fewer
    than ten.

    truth : p*, (N, K).
    """
    certain = certainty(truth)
    if len(certain) < TENTHS or certain.min() == certain.max():
        return []
    return np.array_split(np.argsort(-certain, kind="stable"), TENTHS)


def like(truth: np.ndarray) -> np.ndarray:
    """Return the number of each image's group of like images, from 0 by first appearance; (N,).

    With counts of labels, hardly two ambiguous images have the same p*, so Definition 3.1 of the
    paper is relaxed: images are alike if their p* agree after rounding to one decimal.

    truth : p*, (N, K).
    """
    return siblings(truth.round(LIKE_DECIMALS))


def spread_of_like(probabilities: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the spread of each image's prediction among like images, (N,); NaN if it has none.

    It is |f - m|^2 n / (n - 1), with m the mean of f over the image's group of n like images. The
    mean over a group is the unbiased estimate of E|f - E f|^2, which does not depend on n. Without
    the factor, the small groups of ambiguous images would seem to have less spread.

    probabilities : f, (N, K).   groups : what `like` returns for p*.
    """
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(probabilities[order], starts, axis=0) / counts[:, None]
    squares = np.square(probabilities - means[groups]).sum(axis=1)
    factors = np.full(len(counts), np.nan)
    np.divide(counts, counts - 1, out=factors, where=counts > 1)
    return squares * factors[groups]
