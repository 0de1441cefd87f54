"""Distance of predictions f from the true label distribution p*: the quantity of Eq. (2)."""

from __future__ import annotations

import numpy as np


def distance(probabilities: np.ndarray, truth: np.ndarray, order: int = 2) -> float:
    """Return the mean over images of the l1 or l2 norm of the probabilities minus p*.

    probabilities, truth : (N, K).   order : 1 or 2.
    """
    difference = probabilities - truth
    return float(np.linalg.norm(difference, ord=order, axis=1).mean())


def excess_nll(logs: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over images of KL(p* || f), in nats.

    It is the NLL that is expected for labels drawn from p*, minus the entropy of p*, which is the
    lowest NLL that any prediction can have. It is infinite if f rules out a class that p* has.

    logs : logarithms of the probabilities f, (N, K).   truth : p*, (N, K).
    """
    possible = truth > 0  # the others count 0, also if f rules them out
    known = truth[possible]
    return float((known * (np.log(known) - logs[possible])).sum() / len(truth))


def siblings(truth: np.ndarray) -> np.ndarray:
    """Return the number of each image's siblings, from 0 by first appearance; int, (N,).

    Siblings are images with the same p*: Definition 3.1 of the paper.

    truth : p*, (N, K).
    """
    numbers: dict[bytes, int] = {}
    rows = np.ascontiguousarray(truth)
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in rows])


def spread_and_bias(
    probabilities: np.ndarray, truth: np.ndarray, groups: np.ndarray
) -> tuple[float, float]:
    """Divide the mean squared l2 distance to p*, E|f - p*|^2, into spread and bias.

    With m the mean of f over an image's siblings, the spread is E|f - m|^2 and the bias is
    E|m - p*|^2. They sum to E|f - p*|^2, as p* is the same for all siblings. The paper's
    Proposition 3.3 is about networks without spread: they predict the same for all siblings. Images
    without siblings have no spread.

    probabilities, truth : (N, K).   groups : what `siblings` returns for the truth.
    """
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups)
    starts = np.cumsum(counts) - counts
    predicted = probabilities[order]
    means = np.add.reduceat(predicted, starts, axis=0) / counts[:, None]
    for start, count, mean in zip(starts, counts, means, strict=True):
        predicted[start : start + count] -= mean  # a repeated mean would take all this memory again
    spread = np.square(predicted, out=predicted).sum() / len(groups)
    biases = np.square(means - truth[order[starts]]).sum(axis=1)
    return float(spread), float(counts @ biases / len(groups))
