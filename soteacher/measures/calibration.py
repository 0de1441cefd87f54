"""Calibration of predicted probabilities: NLL, ECE, and temperature scaling.

Guo et al., On Calibration of Modern Neural Networks, 2017. All computations are in float64.
"""

from __future__ import annotations

import math

import numpy as np

from soteacher.core.random import key

N_BINS = 15
TEMPERATURES = (0.05, 20.0)
"""The range of the search for the best temperature."""
ACCURACY = 1e-10
"""The search ends with a step that is relatively smaller. Newton's steps square the error."""


def nll(logs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over images of -log of the label's probability, in nats.

    logs : logarithms of the probabilities, (N, K).   labels : int, (N,).
    """
    return float(-np.take_along_axis(logs, labels[:, None], axis=1).mean())


def reliability(probabilities: np.ndarray, labels: np.ndarray, n_bins: int = N_BINS) -> np.ndarray:
    """Return, per bin of top-1 confidence, (number of images, mean confidence, accuracy).

    probabilities : (N, K).   labels : int, (N,).   Returns (n_bins, 3). Bins have equal width and
    are half-open: (low, high]. Confidence and accuracy of empty bins are 0.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = bins_of(confidence, n_bins)
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


def bins_of(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the number of each confidence's bin, from 0; (N,). Bins are half-open: (low, high]."""
    highs = np.arange(1, n_bins + 1) / n_bins
    return np.minimum(np.searchsorted(highs, confidence), n_bins - 1)  # sums may round above 1


def ece(bins: np.ndarray) -> float:
    """Return the expected calibration error: the mean of |confidence - accuracy| over images.

    It is positive for a perfectly calibrated network, too: see `calibrated_null.ece_null`.

    bins : what `reliability` returns.
    """
    counts, confidence, accuracy = bins.T
    return float((counts * np.abs(confidence - accuracy)).sum() / counts.sum())


def best_temperature(logits: np.ndarray, labels: np.ndarray, start: float = 1.0) -> float:
    """Return the temperature T that minimises the NLL of softmax(logits / T).

    The NLL is convex in b = 1/T: Newton's method finds the root of its derivative, with bisection
    in place of a step out of the interval that contains the root. T is exactly a bound of
    `TEMPERATURES` if the NLL decreases up to there, and 1 if no T changes the NLL.

    logits : (N, K), finite.   labels : int, (N,).   start : where the search begins, in
    `TEMPERATURES`.
    """
    exact = logits.astype(np.float64)
    exact -= exact.max(axis=1, keepdims=True)
    of_labels = np.take_along_axis(exact, labels[:, None], axis=1)[:, 0]
    if not exact.any():
        return 1.0
    if not of_labels.any():  # every label has the largest logit; the derivative may underflow to 0
        return TEMPERATURES[0]
    likelihood = _Likelihood(exact, of_labels)
    low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    untried, b = {low, high}, 1 / start
    while low < high:
        slope, curvature = likelihood.derivatives(b)
        if not slope:
            break
        low, high = (low, b) if slope > 0 else (b, high)
        step = -slope / curvature if curvature > 0 else math.copysign(math.inf, -slope)
        if abs(step) <= ACCURACY * b:
            b = min(max(b + step, low), high)
            break
        b = min(max(b + step, low), high)
        if b in (low, high) and b not in untried:
            b = math.sqrt(low * high)
        untried.discard(b)
    return min(max(1 / b, TEMPERATURES[0]), TEMPERATURES[1])


class _Likelihood:
    """The NLL of softmax(b * logits) as a function of b.

    It keeps the memory that each b needs: new memory would take twice the time.
    """

    def __init__(self, logits: np.ndarray, of_labels: np.ndarray) -> None:
        self._logits, self._of_labels = logits, of_labels
        self._weights = np.empty_like(logits)

    def derivatives(self, b: float) -> tuple[float, float]:
        """Return the first and second derivative by b.

        They are the means over images of E[z] - z_y and Var[z], where z has the softmax's
        distribution.
        """
        weights = self._weights
        np.multiply(self._logits, b, out=weights)
        np.exp(weights, out=weights)
        total = weights.sum(axis=1)
        weights *= self._logits
        mean = weights.sum(axis=1) / total
        variance = np.einsum("ik,ik->i", weights, self._logits) / total - mean**2
        return float((mean - self._of_labels).mean()), float(variance.mean())


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
    first_t = best_temperature(logits[~second], labels[~second])
    second_t = best_temperature(logits[second], labels[second], start=first_t)  # fewer steps
    temperature = np.where(second, first_t, second_t)
    return logits / temperature[:, None], (first_t, second_t)
