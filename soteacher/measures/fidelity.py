"""Fidelity: how well a student matches its teacher.

Stanton et al., Does Knowledge Distillation Really Work? 2021.
"""

from __future__ import annotations

import numpy as np

from soteacher.measures.softmax import log_softmax


def agreement(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the share of images with the same largest logit in both; logits are (N, K)."""
    return float((teacher.argmax(axis=1) == student.argmax(axis=1)).mean())


def predictive_kl(teacher: np.ndarray, student: np.ndarray) -> float:
    """Return the mean over images of KL(teacher || student) at temperature 1, in nats."""
    logs = [log_softmax(logits) for logits in (teacher, student)]
    return float((np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1).mean())
