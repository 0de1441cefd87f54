"""One comparison of a claim: two groups of runs in the paper, in a study, or in both."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pandas as pd

from soteacher.claims.paper import Terms, mean_of
from soteacher.claims.study_runs import Students, StudyRuns, Teachers, unit
from soteacher.claims.verdicts import MISSING, Outcome, judged
from soteacher.statistics.paired import Estimate, paired
from soteacher.statistics.welch import welch

NONE = pd.Series(dtype=float)


@dataclass(frozen=True)
class Comparison:
    """A difference between a method and a reference, for one pair or teacher network."""

    label: str
    """What is compared, for example the name of a pair."""
    measure: str
    unit: str
    pair: str = ""
    distiller: str = ""
    method: str = ""
    reference: str = ""
    differences: pd.Series | None = None
    """The study's differences by the seeds that all compared runs are planned for, NaN where a run
    is missing; None: not measured."""
    at_least: int = 1
    """Number of finished seeds without which no seed has a difference."""
    timed: Estimate | None = None
    """The estimate of a difference that has no seeds: the times of steps."""
    paper: Terms | None = None
    """The paper's difference; None: the paper has no numbers."""
    counted: bool = True
    """Whether the comparison counts for the verdict of its claim."""
    papers: bool = False
    """Whether the study's runs are the paper's experiment."""
    over_images: tuple[float, float] | None = None
    """Interval over test images, if there is a single seed."""

    @property
    def is_measured(self) -> bool:
        """Whether the study has the runs."""
        return self.differences is not None or self.timed is not None

    def estimate(self, bound: float) -> Estimate:
        """Return the study's estimate, tested against the claim's bound."""
        if self.timed is not None:
            return self.timed
        return paired([] if self.differences is None else self.differences.to_numpy(), bound)

    def outcome(self, side: int, bound: float) -> Outcome:
        """Return the study's outcome."""
        if not self.is_measured:
            return Outcome(MISSING)
        found = self.estimate(bound)
        return judged(found.difference, found.low, found.high, found.p, side, bound)

    def paper_outcome(self, side: int, bound: float) -> Outcome:
        """Return the outcome of the paper's own numbers."""
        if self.paper is None:
            return Outcome(MISSING)
        found = welch([*self.paper.values()], bound)
        return judged(found.difference, found.low, found.high, found.p, side, bound)


def average(comparisons: list[Comparison]) -> Comparison:
    """Return the mean of comparisons over all seeds that all of them have.

    It has the paper's mean if the paper has numbers for some of them. The times of several networks
    are not averaged.
    """
    measured = [one.differences for one in comparisons if one.differences is not None]
    joined = pd.concat(measured, axis=1).mean(axis=1, skipna=False) if measured else None
    papers = [one.paper for one in comparisons if one.paper is not None]
    timed = [one.timed for one in comparisons if one.timed is not None]
    of_steps = None
    if timed:
        of_steps = timed[0] if len(timed) == 1 else Estimate(sum(one.n for one in timed), math.nan)
    return Comparison(
        label="overall",
        measure=comparisons[0].measure,
        unit=comparisons[0].unit,
        differences=joined,
        timed=of_steps,
        paper=mean_of(papers) if papers else None,
        papers=all(one.papers for one in comparisons if one.is_measured) and bool(measured),
    )


def compared(
    study: StudyRuns,
    group: Teachers | Students,
    method: str,
    reference: str,
    measure: str,
    counted: bool = True,
) -> Comparison | None:
    """Return the comparison of two methods, or None if the study does not measure both."""
    if not all(study.measures(group, name, measure) for name in (method, reference)):
        return None
    first, second = (study.values(group, name, measure) for name in (method, reference))
    common = first.index.intersection(second.index)
    pair, distiller = (group.pair, group.distiller) if isinstance(group, Students) else ("", "")
    further = () if counted else (method, *((distiller,) if distiller else ()))
    return Comparison(
        label=", ".join((study.heading(group), *further)),
        measure=measure,
        unit=unit(measure),
        pair=pair,
        distiller=distiller,
        method=method,
        reference=reference,
        differences=(first[common] - second[common]).sort_index(),
        counted=counted,
        papers=study.are_papers(group, method, reference),
        over_images=study.over_images(group, method, reference) if measure == "top1" else None,
    )


def with_paper(
    comparisons: list[Comparison], papers: dict[str, Terms], measure: str
) -> list[Comparison]:
    """Add the paper's differences, by label, to counted comparisons; the paper's others come first.

    The order is that of the paper, then that of the study.
    """
    by_label = {one.label: one for one in comparisons if one.counted}
    of_paper = [
        replace(by_label.get(label, Comparison(label, measure, unit(measure))), paper=terms)
        for label, terms in papers.items()
    ]
    return of_paper + [one for one in comparisons if one.label not in papers or not one.counted]
