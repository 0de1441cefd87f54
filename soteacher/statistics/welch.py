"""Welch's test from means and standard deviations alone, as papers print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import special  # scipy.stats takes longer than a whole table

from soteacher.statistics import ALPHA


@dataclass(frozen=True)
class Summary:
    """A printed mean and sample standard deviation of n runs, times a coefficient."""

    mean: float
    sd: float
    n: int
    coefficient: float = 1.0


@dataclass(frozen=True)
class Contrast:
    """A sum of coefficients times means, with its 95 % interval and the p value of its test."""

    difference: float
    low: float
    high: float
    p: float


def welch(terms: Sequence[Summary], tested: float = 0.0) -> Contrast:
    """Return the contrast of independent groups with unequal variances.

    For two groups with coefficients 1 and -1 this is Welch's t test. The degrees of freedom are
    those of Welch (1947) and Satterthwaite (1946), (sum v)^2 / sum(v^2 / (n - 1)) with
    v = (coefficient sd)^2 / n. Without any spread, the interval is one point.

    tested : the value of the null hypothesis.
    """
    difference = math.fsum(term.coefficient * term.mean for term in terms)
    variances = [(term.coefficient * term.sd) ** 2 / term.n for term in terms]
    variance = math.fsum(variances)
    if variance == 0:
        return Contrast(difference, difference, difference, float(difference == tested))
    squares = (v**2 / (term.n - 1) for v, term in zip(variances, terms, strict=True))
    freedom = variance**2 / math.fsum(squares)
    error = math.sqrt(variance)
    half = special.stdtrit(freedom, 1 - ALPHA / 2) * error
    p = 2 * special.stdtr(freedom, -abs(difference - tested) / error)
    return Contrast(difference, float(difference - half), float(difference + half), float(p))
