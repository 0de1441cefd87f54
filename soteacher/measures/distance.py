"""Distance of predictions from the true label distribution: the quantity of Eq. (2)."""

from __future__ import annotations

import numpy as np

from soteacher.measures.softmax import softmax


def distance(logits: np.ndarray, truth: np.ndarray, order: int = 2) -> float:
    """Return the mean over images of the l1 or l2 norm of softmax(logits) - p*.

    logits, truth : (N, K).   order : 1 or 2.
    """
    difference = softmax(logits) - truth
    return float(np.linalg.norm(difference, ord=order, axis=1).mean())
