"""Accuracy of predictions."""

from __future__ import annotations

import numpy as np

LEVEL = 0.95
"""Share of the bootstrap's accuracies that are inside the interval."""


def top_k(logits: np.ndarray, classes: np.ndarray, k: int) -> float:
    """Return the share of images with the logit of their class among the k largest.

    logits : (N, K).   classes : int, (N,).
    Among equal logits the lower class comes first, as in argmax. An image counts as wrong if the
    logit of its class is not a number.
    """
    of_class = np.take_along_axis(logits, classes[:, None], axis=1)  # (N, 1)
    earlier = np.arange(logits.shape[1]) < classes[:, None]
    before = ~((logits < of_class) | ((logits == of_class) & ~earlier))
    return float((before.sum(axis=1) < k).mean())


def bootstrap_interval(accuracy: float, images: int) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of an accuracy over this number of test images.

    The bootstrap (Efron, 1979) draws as many images with replacement, again and again. How many of
    the drawn ones are right has the binomial distribution B(images, accuracy), so its quantiles at
    2.5 % and 97.5 % are computed, and nothing is drawn. An accuracy of 0 or 1 has no width.

    They are those of `scipy.stats.binom`, whose import takes longer than all measures of a run.
    """
    if accuracy in (0, 1):
        return accuracy, accuracy
    right = np.arange(1, images + 1)
    ratios = np.log((images + 1 - right) / right) + np.log(accuracy) - np.log1p(-accuracy)
    logs = np.concatenate([[0.0], np.cumsum(ratios)])  # of the probabilities, up to a constant
    cumulative = np.cumsum(np.exp(logs - logs.max()))
    tail = (1 - LEVEL) / 2
    low, high = np.searchsorted(cumulative / cumulative[-1], [tail, 1 - tail])
    return float(low / images), float(high / images)
