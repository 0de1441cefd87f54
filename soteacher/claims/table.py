"""The tables of claims and of comparisons."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median
from typing import Any

import pandas as pd

from soteacher.claims import other_measures, other_methods, students_and_teachers, texts, trends
from soteacher.claims.claim import Claim
from soteacher.claims.comparison import Comparison, average
from soteacher.claims.study_runs import StudyRuns
from soteacher.claims.verdicts import (
    ALMOST_ALL,
    MISSING,
    OPEN,
    Outcome,
    almost_every,
    on_claimed_side,
)
from soteacher.report.paper_values import RUNS
from soteacher.statistics.paired import Estimate, seeds_needed

CLAIMS: tuple[Claim, ...] = (
    *students_and_teachers.CLAIMS,
    *other_measures.CLAIMS,
    *trends.CLAIMS,
    *other_methods.CLAIMS,
)
"""All claims, in the order in which they are shown."""

OVERALL = "overall"
"""The `comparison` of the first row of each claim, which has the claim's verdict."""
COLUMNS = (
    *("claim", "sentence", "paper_where", "comparison", "pair", "distiller", "method"),
    *("reference", "measure", "unit"),
    *("paper_n", "paper_difference", "paper_low", "paper_high", "paper_p", "paper_verdict"),
    *("n", "difference", "low", "high", "p", "smallest", "seeds_needed", "verdict", "why"),
    *("paper_why", "counted"),
)
"""Columns of claims.csv; docs/claims.md explains them."""

Spreads = dict[tuple[str, str, bool], float]
"""Measure, unit, and whether it is of students, to the median standard deviation of differences."""


def make_claims(study: StudyRuns) -> pd.DataFrame:
    """Return the table of claims: for each claim the row `OVERALL`, then its comparisons."""
    found = [(claim, claim.find(study)) for claim in CLAIMS]
    spreads = _spreads([one for _, comparisons in found for one in comparisons])
    rows = [row for claim, comparisons in found for row in _rows(claim, comparisons, spreads)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"n": "Int64", "seeds_needed": "Int64"})


def _rows(claim: Claim, comparisons: list[Comparison], spreads: Spreads) -> list[dict[str, Any]]:
    rows, needs = [], []
    for one in comparisons:
        outcome = one.outcome(claim.side, claim.bound)
        paper = one.paper_outcome(claim.side, claim.bound)
        found = one.estimate(claim.bound)
        needed = _needed(claim, one, found, spreads) if outcome.verdict == OPEN else None
        why = texts.of_comparison(claim, one, found, outcome, needed)
        rows.append(_row(claim, one, found, outcome, paper, needed) | {"why": why})
        if one.counted and outcome.verdict == OPEN:
            needs.append(needed)
    return [_overall(claim, comparisons, needs, spreads), *rows]


def _overall(
    claim: Claim, comparisons: list[Comparison], needs: list[int | None], spreads: Spreads
) -> dict[str, Any]:
    """Return the row with the verdict of a claim.

    needs : the seeds that would decide each open comparison that counts.
    """
    counted = [one for one in comparisons if one.counted]
    if not counted:
        total, paper_total = Outcome(MISSING), Outcome(MISSING)
        one, found = Comparison(OVERALL, "", ""), Comparison(OVERALL, "", "").estimate(0)
        outcomes, papers = [], []
    else:
        one = average(counted)
        found = one.estimate(claim.bound)
        outcomes = [other.outcome(claim.side, claim.bound) for other in counted]
        papers = [other.paper_outcome(claim.side, claim.bound) for other in counted]
        total, paper_total = (
            claim.rule(of_each, of_average, claim.side, claim.bound)
            for of_each, of_average in (
                (outcomes, one.outcome(claim.side, claim.bound)),
                (papers, one.paper_outcome(claim.side, claim.bound)),
            )
        )
    needed = None
    if total.verdict == OPEN and claim.rule is almost_every:
        distiller = next((other.distiller for other in counted if other.distiller), "")
        average_of = replace(one, distiller=distiller)  # its spread is that of students
        needed = _needed_on_average(claim, average_of, outcomes, spreads)
    elif total.verdict == OPEN and needs and None not in needs:
        needed = max(number for number in needs if number is not None)
    return _row(claim, one, found, total, paper_total, needed) | {
        "why": texts.of_claim(claim, counted, outcomes, total, needed, one.papers),
        "paper_why": texts.of_paper(claim, papers, paper_total, one.unit),
    }


def _row(
    claim: Claim,
    one: Comparison,
    found: Estimate,
    outcome: Outcome,
    paper: Outcome,
    needed: int | None,
) -> dict[str, Any]:
    return {
        "claim": claim.name,
        "sentence": claim.sentence,
        "paper_where": claim.where,
        "comparison": one.label,
        "pair": one.pair,
        "distiller": one.distiller,
        "method": one.method,
        "reference": one.reference,
        "measure": one.measure,
        "unit": one.unit,
        "paper_n": RUNS if one.paper else None,
        "paper_difference": paper.difference,
        "paper_low": paper.low,
        "paper_high": paper.high,
        "paper_p": paper.p,
        "paper_verdict": paper.verdict,
        "n": found.n if one.is_measured else None,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "smallest": found.smallest,
        "seeds_needed": needed,
        "verdict": outcome.verdict,
        "paper_why": "",
        "counted": one.counted,
    }


def _needed(claim: Claim, one: Comparison, found: Estimate, spreads: Spreads) -> int | None:
    """Return the seeds that would decide a comparison, if its difference is as observed.

    With one seed, the spread is that of the study's other comparisons of the same measure.
    """
    if found.n != 1 or one.timed is not None:
        return found.seeds_needed
    return seeds_needed(found.difference - claim.bound, spreads.get(_kind(one), math.nan))


def _needed_on_average(
    claim: Claim, average: Comparison, outcomes: list[Outcome], spreads: Spreads
) -> int | None:
    """Return the seeds that would decide a claim about almost every comparison.

    The average decides, unless it is on the claimed side and too few of the comparisons are. With
    one seed, the spread is that of a single comparison, which is rather too large.
    """
    found = average.estimate(claim.bound)
    better, n = on_claimed_side(outcomes, claim.side, claim.bound)
    if claim.side * (found.difference - claim.bound) > 0 and better < ALMOST_ALL * n:
        return None
    return _needed(claim, average, found, spreads)


def _kind(one: Comparison) -> tuple[str, str, bool]:
    return one.measure, one.unit, one.distiller != ""


def _spreads(comparisons: list[Comparison]) -> Spreads:
    known: dict[tuple[str, str, bool], list[float]] = {}
    for one in comparisons:
        found = one.estimate(0)
        if one.timed is None and found.n > 1:
            known.setdefault(_kind(one), []).append(found.sd)
    return {kind: median(values) for kind, values in known.items()}
