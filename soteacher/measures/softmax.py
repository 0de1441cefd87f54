"""Predicted probabilities of logits, in float64.

The same bits as `scipy.special`, whose import takes longer than all measures of a small run.
"""

from __future__ import annotations

import numpy as np


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities of each image; logits are (N, K)."""
    shifted = _shifted(logits)
    with np.errstate(divide="ignore"):
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of each image; logits are (N, K)."""
    exponentials = np.exp(_shifted(logits))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _shifted(logits: np.ndarray) -> np.ndarray:
    """Return the logits minus the largest of their row, so that no exponential overflows."""
    exact = logits.astype(np.float64)
    largest = exact.max(axis=1, keepdims=True)
    return exact - np.where(np.isfinite(largest), largest, 0)
