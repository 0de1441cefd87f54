"""The sentences that explain verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from soteacher.claims.claim import Claim
from soteacher.claims.comparison import Comparison
from soteacher.claims.verdicts import (
    FAILS,
    HOLDS,
    MISSING,
    OPEN,
    Outcome,
    almost_every,
)
from soteacher.statistics import ALPHA
from soteacher.statistics.paired import MOST_SEEDS, Estimate
from soteacher.statistics.several import holm, sign_test, wilcoxon

SMALL = ("ECE", "nats")
"""Units with three decimals."""
NO_RUNS = "This study has no such runs."


def shown(value: float, unit: str) -> str:
    """Return a difference with its sign."""
    digits = 3 if unit in SMALL or unit.startswith("train") else 2
    return f"{round(value, digits) + 0.0:+.{digits}f}"  # + 0.0: no minus before a zero


def with_interval(outcome: Outcome | Estimate, unit: str) -> str:
    """Return a difference and its 95 % interval, if there is one."""
    text = shown(outcome.difference, unit)
    if math.isnan(outcome.low):
        return text
    return f"{text} ({shown(outcome.low, unit)} to {shown(outcome.high, unit)})"


def of_comparison(
    claim: Claim, one: Comparison, found: Estimate, outcome: Outcome, needed: int | None
) -> str:
    """Return why a comparison of a study has its verdict.

    needed : number of seeds that would decide, or None.
    """
    if outcome.verdict == MISSING:
        return NO_RUNS
    where = _here(one.papers)
    lost = _lost(one, found)
    if found.n == 0 and one.at_least > 1:
        text = f"{where} fewer than {one.at_least} seeds have all the finished runs that it needs."
    elif found.n == 0:
        text = f"{where} no seed has finished runs of both."
    elif math.isnan(found.low):
        text = f"{where} the difference is {shown(found.difference, one.unit)}, n = {found.n}: "
        text += "no interval" if one.timed is not None else "no interval over seeds"
        if one.over_images is not None:
            low, high = (shown(end, one.unit) for end in one.over_images)
            text += f" (over test images alone, {low} to {high})"
        text += f"; {_more(one, found, needed)}."
    else:
        what = "steps" if one.timed is not None else "n"
        text = f"{where} the difference is {with_interval(found, one.unit)}, {what} = {found.n}"
        text += f", and the claim needs it {_side(claim)}"
        if outcome.verdict == OPEN and one.timed is None:
            text += f": {seeds_text(needed)}"
        text += "."
    if not one.counted:
        text += " It does not count for the verdict of the claim."
    return " ".join(part for part in (text, lost) if part)


def of_claim(
    claim: Claim,
    comparisons: Sequence[Comparison],
    outcomes: Sequence[Outcome],
    total: Outcome,
    needed: int | None,
    all_papers: bool,
) -> str:
    """Return why a claim has its verdict in a study, from the comparisons that count."""
    if total.verdict == MISSING:
        return NO_RUNS
    measured = [
        (one, outcome)
        for one, outcome in zip(comparisons, outcomes, strict=True)
        if outcome.verdict != MISSING
    ]
    if len(measured) == 1:
        one, outcome = measured[0]
        return of_comparison(claim, one, one.estimate(claim.bound), outcome, needed)
    text = f"{_here(all_papers)} {_counts(outcomes)}"
    if not math.isnan(total.difference):
        text += f"; on average {with_interval(total, comparisons[0].unit)}"
    if claim.rule is almost_every:
        text += f"; {_over_methods(claim, outcomes)}"
    if total.verdict == OPEN:
        several = max(one.estimate(claim.bound).n for one, _ in measured) > 1
        text += f"; {seeds_text(needed, several)}"
    return f"{text}."


def of_paper(claim: Claim, outcomes: Sequence[Outcome], total: Outcome, unit: str) -> str:
    """Return what the paper's own numbers say about a claim, by Welch's test with n = 3."""
    if total.verdict == MISSING:
        return "The paper prints no means and standard deviations for it."
    text = "By Welch's test of the printed means (n = 3), "
    if len(_measured(outcomes)) > 1:
        text += f"{_counts(outcomes)}; on average {with_interval(total, unit)}"
    else:
        text += f"the difference is {with_interval(total, unit)}"
    if claim.rule is almost_every:
        text += f"; {_over_methods(claim, outcomes)}"
    return f"{text}."


def _more(one: Comparison, found: Estimate, needed: int | None) -> str:
    """Return what an interval needs."""
    if one.timed is not None:
        return "more steps are needed"
    return seeds_text(needed, found.n > 1)


def seeds_text(needed: int | None, several: bool = True) -> str:
    """Return how many seeds would decide; several: whether the study has more than one."""
    if needed is None and not several:
        return "at least 2 seeds are needed"
    if needed is None:
        return f"no number of seeds up to {MOST_SEEDS} is known to decide"
    return f"about {needed} seeds would decide"


def _here(papers: bool) -> str:
    return "In the paper's experiment, repeated here," if papers else "In this study,"


def _measured(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.verdict != MISSING]


def _counts(outcomes: Sequence[Outcome]) -> str:
    measured = _measured(outcomes)
    number = {name: sum(o.verdict == name for o in measured) for name in (HOLDS, FAILS, OPEN)}
    text = f"the claim holds in {number[HOLDS]} of {len(measured)} comparisons"
    if number[FAILS]:
        text += f", does not hold in {number[FAILS]}"
    return text + (f", and {number[OPEN]} cannot be told" if number[OPEN] else "")


def _over_methods(claim: Claim, outcomes: Sequence[Outcome]) -> str:
    """Return the tests over comparisons, which take them as independent."""
    known = [o for o in outcomes if not math.isnan(o.difference)]
    differences = [claim.side * (outcome.difference - claim.bound) for outcome in known]
    better = sum(difference > 0 for difference in differences)
    adjusted = holm([outcome.p for outcome in known if not math.isnan(outcome.p)])
    text = f"{better} of {len(known)} are on the claimed side"
    if adjusted:
        on_side = [o.verdict == HOLDS for o in known if not math.isnan(o.p)]
        several = sum(p < ALPHA and side for p, side in zip(adjusted, on_side, strict=True))
        text += f", {several} of them significant after Holm's correction"
    text += (
        f" (sign test p = {sign_test(differences):.2g}, Wilcoxon p = {wilcoxon(differences):.2g}"
    )
    return f"{text}; both take students of the same teachers as independent)"


def _side(claim: Claim) -> str:
    return f"{'above' if claim.side > 0 else 'below'} {claim.bound:g}"


def _lost(one: Comparison, found: Estimate) -> str:
    planned = 0 if one.differences is None else len(one.differences)
    if found.n in (0, planned) or one.timed is not None:
        return ""
    return f"{planned - found.n} of {planned} seeds lack a finished run."
