"""Tests over several comparisons, such as one per distiller."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from soteacher.statistics import ALPHA

DECIMALS = 9
"""Decimals up to which differences are compared."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted for their number, in the same order (Holm, 1979).

    The i-th smallest of m is multiplied by m - i + 1; adjusted values do not fall as the p values
    rise, and are at most 1.
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    rising = np.maximum.accumulate(values[order] * factors)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(rising, 1)
    return [float(value) for value in adjusted]


def sign_test(differences: Sequence[float]) -> float:
    """Return the two-sided p value of the sign test; differences of 0 are left out.

    The null hypothesis is that positive and negative differences are equally likely, and the
    differences are independent.
    """
    positive = sum(difference > 0 for difference in differences)
    n = positive + sum(difference < 0 for difference in differences)
    return float(stats.binomtest(positive, n).pvalue) if n else 1.0


def wilcoxon(differences: Sequence[float]) -> float:
    """Return the two-sided p value of Wilcoxon's signed rank test; zeros are left out.

    It is exact for up to 50 differences without ties. Differences that are equal but for rounding
    errors are ties.
    """
    values = np.round(np.asarray(differences, float), DECIMALS)
    values = values[values != 0]
    return float(stats.wilcoxon(values).pvalue) if len(values) else 1.0


def highest_share(positive: int, n: int) -> float:
    """Return the upper end of the 95 % Clopper-Pearson interval of a share of n."""
    interval = stats.binomtest(positive, n).proportion_ci(1 - ALPHA, method="exact")
    return float(interval.high)
