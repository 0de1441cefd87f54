"""The rules of verdicts, fixed before any result was seen: docs/claims.md explains them.

A claim says on which side of a bound a difference is. It *holds* if the whole 95 % interval of the
difference is on that side, it *does not hold* if the whole interval is on the other side, and
otherwise the study *cannot tell*. The bound is 0 for a claim that something is better or worse. It
is `MARGIN` away from 0 for a claim that something is not better or not worse, because an interval
never shows that a difference is exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from soteacher.statistics import ALPHA
from soteacher.statistics.several import highest_share, holm

HOLDS = "holds"
FAILS = "does not hold"
OPEN = "cannot tell"
MISSING = "not measured"

MARGIN = 0.5
"""Percentage points of accuracy below which a difference counts as none. The smallest gain of
SoTeacher's students in the paper's Table 1 is 0.52."""
LIGHT = 10.0
"""Percent of additional time that still counts as "only slightly longer"; the paper has about 5."""
ALMOST_ALL = 0.9
"""Share of distillers that counts as "almost all"."""


@dataclass(frozen=True)
class Outcome:
    """A difference with its 95 % interval and its verdict; NaN: unknown."""

    verdict: str
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    """Two-sided p value of the test against the claim's bound."""


Rule = Callable[[Sequence[Outcome], Outcome, int, float], Outcome]
"""From the outcomes of a claim's comparisons, the outcome of their average, the claim's side and
its bound, to the outcome of the claim."""


def judged(
    difference: float, low: float, high: float, p: float, side: int, bound: float
) -> Outcome:
    """Return the outcome of one comparison; without an interval it is `OPEN`.

    side : 1 for a claim that the difference is above `bound`, and -1 for one that it is below.
    """
    nearest = low if side > 0 else -high
    farthest = high if side > 0 else -low
    verdict = OPEN
    if nearest > side * bound:
        verdict = HOLDS
    elif farthest < side * bound:
        verdict = FAILS
    return Outcome(verdict, difference, low, high, p)


def each(outcomes: Sequence[Outcome], average: Outcome, side: int, bound: float) -> Outcome:
    """Return the outcome of a claim about every comparison.

    It holds if it holds in all that are measured. It does not hold if it does not in one of them,
    also after Holm's correction for their number.
    """
    measured = [outcome for outcome in outcomes if outcome.verdict != MISSING]
    if not measured:
        return Outcome(MISSING)
    tested = [outcome for outcome in measured if not math.isnan(outcome.p)]
    adjusted = holm([outcome.p for outcome in tested])
    verdict = OPEN
    if any(
        outcome.verdict == FAILS and p < ALPHA for outcome, p in zip(tested, adjusted, strict=True)
    ):
        verdict = FAILS
    elif all(outcome.verdict == HOLDS for outcome in measured):
        verdict = HOLDS
    return Outcome(verdict, average.difference, average.low, average.high, average.p)


def almost_every(outcomes: Sequence[Outcome], average: Outcome, side: int, bound: float) -> Outcome:
    """Return the outcome of a claim about almost every comparison.

    It holds if it holds for the average of the comparisons, and at least `ALMOST_ALL` of the
    differences are on the claimed side. It does not hold if it does not for the average, or if the
    95 % Clopper-Pearson interval of that share is below `ALMOST_ALL`. Without an interval of the
    average, that is with one seed, it cannot be told: the comparisons share their teachers.
    """
    if all(outcome.verdict == MISSING for outcome in outcomes):
        return Outcome(MISSING)
    on_side, n = on_claimed_side(outcomes, side, bound)
    verdict = OPEN
    if not math.isnan(average.low):
        few = highest_share(on_side, n) < ALMOST_ALL
        if average.verdict == FAILS or few:
            verdict = FAILS
        elif average.verdict == HOLDS and on_side >= ALMOST_ALL * n:
            verdict = HOLDS
    return Outcome(verdict, average.difference, average.low, average.high, average.p)


def on_claimed_side(outcomes: Sequence[Outcome], side: int, bound: float) -> tuple[int, int]:
    """Return how many differences are on the claimed side, and how many are known."""
    known = [outcome for outcome in outcomes if not math.isnan(outcome.difference)]
    return sum(side * (outcome.difference - bound) > 0 for outcome in known), len(known)
