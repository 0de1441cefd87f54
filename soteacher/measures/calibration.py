"""How far predicted probabilities can be trusted: NLL, ECE, and temperature scaling.

Guo et al., On Calibration of Modern Neural Networks, 2017. All in float64, from logits.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from soteacher.core.random import key

N_BINS = 15
TEMPERATURES = (0.05, 20.0)
"""Where the best temperature is looked for."""


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over images of -log of the probability given to the label, in nats.

    logits : (N, K).   labels : int, (N,).
    """
    logs = log_softmax(logits.astype(np.float64), axis=1)
    return float(-np.take_along_axis(logs, labels[:, None], axis=1).mean())


def reliability(logits: np.ndarray, labels: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """Per bin of top-1 confidence: images, their mean confidence, their accuracy; (n_bins, 3).

    Bins are of equal width, open below and closed above: (low, high]. Of empty bins, confidence
    and accuracy are 0.
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
    """Expected calibration error: mean over images of |confidence - accuracy| of their bin."""
    counts, confidence, accuracy = reliability(logits, labels, n_bins).T
    return float((counts * np.abs(confidence - accuracy)).sum() / counts.sum())


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T that minimises the NLL of softmax(logits / T).

    A bounded one-dimensional search over log T: the NLL is convex in 1/T.
    """
    exact = logits.astype(np.float64)
    found = minimize_scalar(
        lambda log_t: nll(exact / np.exp(log_t), labels),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-8},
    )
    return float(np.exp(found.x))


def halves(labels: np.ndarray) -> np.ndarray:
    """Which images are in the second of two halves; bool, (N,): stratified, the same each time."""
    random = np.random.Generator(np.random.PCG64(key(0, "measure", "calibration halves")))
    second = np.zeros(len(labels), dtype=bool)
    turn = 0
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        second[members[turn::2]] = True
        turn = (turn + len(members)) % 2  # odd classes favour the halves in turn
    return second


def scale(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Temperature scaling by a cross-fit: each image is scaled with the other half's best T.

    Returns the scaled logits, (N, K) float64, and the temperatures fitted on the first and on the
    second half.
    """
    second = halves(labels)
    first_t, second_t = (best_temperature(logits[h], labels[h]) for h in (~second, second))
    temperature = np.where(second, first_t, second_t)
    return logits / temperature[:, None], (first_t, second_t)
