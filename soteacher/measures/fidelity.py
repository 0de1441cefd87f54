"""How well a student matches its teacher.

Stanton et al., Does Knowledge Distillation Really Work? 2021.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax


def agreement(teacher: np.ndarray, student: np.ndarray) -> float:
    """Share of images for which both have the same largest logit; logits (N, K) each."""
    return float((teacher.argmax(axis=1) == student.argmax(axis=1)).mean())


def predictive_kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean over images of KL(teacher || student) of predictions at temperature 1, in nats."""
    logs = [log_softmax(logits.astype(np.float64), axis=1) for logits in (teacher, student)]
    return float((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1).mean())
