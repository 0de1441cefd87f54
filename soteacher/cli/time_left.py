"""The time that the rest of a workflow's jobs takes, from the jobs that have ended.

Jobs that train count by their FLOP, all others by their number. Nothing is known before the first
job that trains has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean
from typing import NamedTuple

LEAST_AT_ONCE = 0.25
"""Least number of jobs at once that is assumed; Snakemake itself takes time between short jobs."""

SECONDS = 3.0
"""Assumed duration of a job that trains nothing, until one of its rule has ended: it is mostly the
start of Python and of its packages, which took 2 to 5 s on two busy cores."""


class Step(NamedTuple):
    """A job of the workflow: the rule, and the FLOP that its runs still need; 0 for other rules."""

    rule: str
    flop: float = 0.0


class TimeLeft:
    """The seconds until all jobs have ended, as the jobs start and end.

    steps : name of each job to what it does.
    clock : seconds, from any start.
    """

    def __init__(self, steps: dict[str, Step], clock: Callable[[], float]) -> None:
        self._steps, self._clock = steps, clock
        self._begun: dict[str, float] = {}
        self._took: dict[str, float] = {}
        self._start = clock()

    def start(self, name: str) -> None:
        """Note that a job starts, or starts again after an error."""
        self._begun[name] = self._clock()

    def end(self, name: str) -> float:
        """Note that a job has ended; return its seconds."""
        self._took[name] = self._clock() - self._begun.pop(name)
        return self._took[name]

    def seconds(self) -> float | None:
        """Return the seconds that are left, or None if no training job to estimate it has ended."""
        now = self._clock()
        passed = {name: now - begun for name, begun in self._begun.items()}
        rest = []
        for name in self._steps.keys() - self._took.keys():
            estimate = self._estimate(self._steps[name])
            if estimate is None:
                return None
            rest.append(max(estimate - passed.get(name, 0.0), 0.0))
        busy = sum(self._took.values()) + sum(passed.values())
        at_once = max(busy / max(now - self._start, 1e-9), LEAST_AT_ONCE)
        return max(sum(rest) / at_once, max(rest, default=0.0))

    def _estimate(self, step: Step) -> float | None:
        """Return the seconds of a job: those of its rule, or of all that train."""
        ended = [(self._steps[name], took) for name, took in self._took.items()]
        same = [(other, took) for other, took in ended if other.rule == step.rule]
        if step.flop == 0:
            return mean([took for other, took in same if other.flop == 0] or [SECONDS])
        trained = [one for one in same if one[0].flop > 0] or [one for one in ended if one[0].flop]
        if not trained:
            return None
        return step.flop * sum(took for _, took in trained) / sum(one.flop for one, _ in trained)


def about(seconds: float) -> str:
    """Return a time that is left, in words and no more exact than it is known."""
    if seconds < 10:
        return "less than 10 seconds left"
    if seconds < 95:
        return f"about {round(seconds, -1):.0f} seconds left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} minutes left"
    return f"about {seconds / 3600:.1f} hours left"
