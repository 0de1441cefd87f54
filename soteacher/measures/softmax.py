"""Predicted probabilities of logits, in float64.

The same bits as `scipy.special`, whose import takes longer than all measures of a small run.
"""

from __future__ import annotations

import numpy as np


def probabilities(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of each image and their logarithms; all are (N, K)."""
    exact = logits.astype(np.float64)
    largest = exact.max(axis=1, keepdims=True)
    exact -= np.where(np.isfinite(largest), largest, 0)  # so that no exponential overflows
    exponentials = np.exp(exact)
    sums = exponentials.sum(axis=1, keepdims=True)
    exponentials /= sums
    with np.errstate(divide="ignore"):
        exact -= np.log(sums)
    return exponentials, exact
