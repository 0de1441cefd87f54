"""Distance of predictions from the true label distribution: the quantity of Eq. (2)."""

from __future__ import annotations

import numpy as np


def distance(probabilities: np.ndarray, truth: np.ndarray, order: int = 2) -> float:
    """Return the mean over images of the l1 or l2 norm of the probabilities minus p*.

    probabilities, truth : (N, K).   order : 1 or 2.
    """
    difference = probabilities - truth
    return float(np.linalg.norm(difference, ord=order, axis=1).mean())
