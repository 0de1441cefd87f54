"""Differences between runs that are paired by seed: interval, test, and the power of both.

All tests are two-sided with level `ALPHA`, so that a 95 % interval excludes a value exactly if the
test rejects it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, stats

from soteacher.statistics import ALPHA

POWER = 0.8
"""Probability with which a difference that a study could have seen is found."""
MOST_SEEDS = 1000
"""A number of seeds above this one is not computed: no study of networks has so many."""

MOST_SHIFT = 100.0
"""Noncentrality from which the power is 1 for every n; scipy cannot compute much larger ones."""
ROUNDING = 1e-10
"""Relative spread up to which numbers are equal: differences of rounded numbers."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference, and what its number of seeds says about it; NaN: it cannot be computed."""

    n: int
    """Number of pairs."""
    difference: float
    """Mean of the differences."""
    sd: float = math.nan
    """Sample standard deviation of the differences (n - 1)."""
    low: float = math.nan
    """Lower end of the 95 % t interval."""
    high: float = math.nan
    """Upper end of the 95 % t interval."""
    p: float = math.nan
    """Two-sided p value of the t test against the tested value."""
    tested: float = 0.0
    """The value of the null hypothesis."""

    @property
    def smallest(self) -> float:
        """Smallest distance from the tested value that this n finds with 80 % power.

        NaN: unknown, also if all differences are equal, which says nothing about their spread.
        """
        return smallest_difference(self.n, self.sd) if self.sd > 0 else math.nan

    @property
    def seeds_needed(self) -> int | None:
        """Smallest n that finds the observed distance from the tested value with 80 % power.

        None: more than `MOST_SEEDS`, or unknown.
        """
        return seeds_needed(self.difference - self.tested, self.sd)


def paired(differences: Sequence[float] | np.ndarray, tested: float = 0.0) -> Estimate:
    """Return the estimate of a mean from differences, (n,), of pairs with the same seed.

    Differences that are NaN, of pairs with a missing run, are left out. With n = 1 there is no
    spread, so only the difference is known. If all n differences are equal, p is that of the sign
    test, 2^(1 - n), or 1 if they have the tested value. The interval is then one point if the sign
    test can reject anything, which it can from n = 6 on, and unknown otherwise.

    tested : the value of the null hypothesis.
    """
    values = np.asarray(differences, float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n < 2:
        return Estimate(n, float(values[0]) if n else math.nan, tested=tested)
    mean = float(values.mean())
    if np.ptp(values) <= ROUNDING * np.abs(values).max():
        p = 1.0 if math.isclose(mean, tested, rel_tol=ROUNDING) else 2.0 ** (1 - n)
        end = mean if 2.0 ** (1 - n) < ALPHA else math.nan
        return Estimate(n, mean, 0.0, end, end, p, tested)
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf(1 - ALPHA / 2, n - 1)) * sd / math.sqrt(n)
    p = float(stats.ttest_1samp(values, tested).pvalue)
    return Estimate(n, mean, sd, mean - half, mean + half, p, tested)


def power_of(n: int, effect: float) -> float:
    """Return the power of the two-sided t test of n differences: the noncentral t distribution.

    effect : true mean difference divided by the standard deviation of the differences.
    """
    critical = stats.t.ppf(1 - ALPHA / 2, n - 1)
    shift = min(abs(effect) * math.sqrt(n), MOST_SHIFT)
    upper = stats.nct.sf(critical, n - 1, shift)
    lower = stats.nct.cdf(-critical, n - 1, shift)
    return float(np.nansum([upper, lower]))  # scipy has NaN for a tail too small to compute


def smallest_difference(n: int, sd: float) -> float:
    """Return the smallest true difference that n pairs find with 80 % power; n is at least 2."""
    return smallest_effect(n) * sd


@cache
def smallest_effect(n: int) -> float:
    """Return `smallest_difference` for a standard deviation of 1."""
    most = 100.0  # far above the effect that two pairs need, the largest of all
    return float(optimize.brentq(lambda effect: power_of(n, effect) - POWER, 0.0, most))


def seeds_needed(difference: float, sd: float) -> int | None:
    """Return the smallest n that finds this difference with 80 % power.

    Returns None if it is above `MOST_SEEDS`, or if the difference is 0 or not known.
    """
    if math.isnan(difference) or math.isnan(sd) or difference == 0:
        return None
    if sd == 0:
        return math.ceil(1 - math.log2(ALPHA))  # the sign test of equal differences
    effect = difference / sd
    numbers = range(2, MOST_SEEDS + 1)
    place = bisect_left(numbers, POWER, key=lambda n: power_of(n, effect))
    return numbers[place] if place < len(numbers) else None
