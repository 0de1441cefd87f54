"""Accuracy of predictions."""

from __future__ import annotations

import numpy as np


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
