"""Calibration of predicted probabilities: NLL, ECE, and temperature scaling.

Guo et al., On Calibration of Modern Neural Networks, 2017. All computations are in float64.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from soteacher.core.random import key

N_BINS = 15
TEMPERATURES = (0.05, 20.0)
"""The range of the search for the best temperature."""


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over images of -log of the label's probability, in nats.

    logits : (N, K).   labels : int, (N,).
    """
    logs = log_softmax(logits.astype(np.float64), axis=1)
    return float(-np.take_along_axis(logs, labels[:, None], axis=1).mean())


def reliability(logits: np.ndarray, labels: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """Return, per bin of top-1 confidence, (number of images, mean confidence, accuracy).

    Returns (n_bins, 3). Bins have equal width and are half-open: (low, high]. Confidence and
    accuracy of empty bins are 0.
    """
    probabilities = softmax(logits.astype(np.float64), axis=1)
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    highs = np.arange(1, n_bins + 1) / n_bins
    bins = np.minimum(np.searchsorted(highs, confidence), n_bins - 1)  # sums may round above 1
    counts = np.bincount(bins, minlength=n_bins)
    some = np.maximum(counts, 1)
    return np.stack(
        [
            counts,
            np.bincount(bins, confidence, n_bins) / some,
            np.bincount(bins, correct, n_bins) / some,
        ],
        axis=1,
    )


def ece(logits: np.ndarray, labels: np.ndarray, n_bins: int = N_BINS) -> float:
    """Return the expected calibration error: the mean of |confidence - accuracy| over images."""
    counts, confidence, accuracy = reliability(logits, labels, n_bins).T
    return float((counts * np.abs(confidence - accuracy)).sum() / counts.sum())


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature T that minimises the NLL of softmax(logits / T).

    The search over log T is bounded and one-dimensional; the NLL is convex in 1/T.
    """
    exact = logits.astype(np.float64)
    optimum = minimize_scalar(
        lambda log_t: nll(exact / np.exp(log_t), labels),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(optimum.x))


def halves(labels: np.ndarray) -> np.ndarray:
    """Return which images are in the second of two fixed, stratified halves; bool, (N,)."""
    random = np.random.Generator(np.random.PCG64(key(0, "measure", "calibration halves")))
    second = np.zeros(len(labels), dtype=bool)
    turn = 0
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        second[members[turn::2]] = True
        turn = (turn + len(members)) % 2  # the halves get the extra image of odd classes in turn
    return second


def scale(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Scale logits by a cross-fitted temperature: each half uses the best T of the other half.

    Returns the scaled logits, (N, K) float64, and the temperatures fitted on the first and on the
    second half.
    """
    second = halves(labels)
    first_t, second_t = (best_temperature(logits[h], labels[h]) for h in (~second, second))
    temperature = np.where(second, first_t, second_t)
    return logits / temperature[:, None], (first_t, second_t)
