"""Fidelity: how well a student matches its teacher.

Stanton et al., Does Knowledge Distillation Really Work? 2021.
"""

from __future__ import annotations

import numpy as np


def agreement(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the share of images with the same largest logit in both; logits are (N, K)."""
    return float((teacher.argmax(axis=1) == student.argmax(axis=1)).mean())


def predictive_kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the mean over images of KL(teacher || student), in nats.

    teacher, student : logarithms of the probabilities at temperature 1, (N, K).
    """
    divergence = teacher - student
    divergence *= np.exp(teacher)
    return float(divergence.sum(axis=1).mean())
