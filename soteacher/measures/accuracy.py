"""Accuracy of predictions."""

from __future__ import annotations

import numpy as np


def top_k(logits: np.ndarray, classes: np.ndarray, k: int) -> float:
    """Share of images whose class is among the k largest logits.

    logits : (N, K).   classes : int, (N,).
    Among equal logits the lower class comes first, as with argmax; an image whose own logit is
    not a number counts as wrong.
    """
    own = np.take_along_axis(logits, classes[:, None], axis=1)  # (N, 1)
    earlier = np.arange(logits.shape[1]) < classes[:, None]
    before = ~((logits < own) | ((logits == own) & ~earlier))
    return float((before.sum(axis=1) < k).mean())
