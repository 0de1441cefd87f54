"""The ECE that a perfectly calibrated network has: the bias of ECE on a finite number of images.

ECE is a mean of absolute values, so it is positive even if every confidence is exactly right:
Roelofs et al., Mitigating Bias in Calibration Error Estimation, 2022. An ECE says something about
a network only as far as it is above this value.
"""

from __future__ import annotations

import numpy as np

from soteacher.measures.calibration import N_BINS, bins_of


def ece_null(probabilities: np.ndarray, n_bins: int = N_BINS) -> float:
    """Return the expectation of ECE if the labels are drawn from the predicted probabilities.

    In a bin of confidence, 1 minus confidence is then the chance of each image to be wrong. Over
    bins b and their images i, with c_i the confidence and w_i 1 if the image is wrong,

        E[ECE] = 1/N sum_b E |sum_i (w_i - (1 - c_i))|.

    The expectation is exact up to rounding; nothing is drawn.

    probabilities : (N, K).
    """
    confidence = probabilities.max(axis=1)
    bins = bins_of(confidence, n_bins)
    wrong = np.maximum(1 - confidence, 0)  # sums of probabilities may round above 1
    deviations = [_mean_deviation(wrong[bins == b]) for b in np.unique(bins)]
    return sum(deviations) / len(confidence)


def _mean_deviation(chances: np.ndarray) -> float:
    """Return E|S - E[S]|, where S counts independent events with these chances, (n,).

    It is twice the expectation of what S lacks of its mean. Only this side is summed: if the events
    are rare it has few terms, and the rounding errors of all others do not count.
    """
    mean = chances.sum()
    fewer = np.arange(np.ceil(mean))  # the counts below the mean
    return float(2 * ((mean - fewer) * _distribution(chances)[: len(fewer)]).sum())


def _distribution(chances: np.ndarray) -> np.ndarray:
    """Return the probabilities of 0 to n events with these chances, (n + 1,) or with zeros after.

    The distributions of two halves are convolved, and so on, from single events upwards, with the
    fast Fourier transform: n log(n)^2 operations.
    """
    parts = np.stack([1 - chances, chances], axis=1)
    while len(parts) > 1:
        events = parts.shape[1] - 1
        if len(parts) % 2:
            none = np.zeros((1, events + 1))
            none[0, 0] = 1
            parts = np.concatenate([parts, none])
        spectra = np.fft.rfft(parts, 3 * events, axis=1)  # 2 * events + 1 would do; this is fast
        product = np.fft.irfft(spectra[::2] * spectra[1::2], 3 * events, axis=1)
        parts = product[:, : 2 * events + 1]
    return np.asarray(parts[0])
