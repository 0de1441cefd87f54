"""Accuracy of students over measures of their teachers: what predicts a good student?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import PairBlock
from soteacher.study.kinds.comparison import pair_deviations


@register
class PredictorsFigure(PairBlock):
    """Accuracy of students over distance, spread, accuracy, ECE and NLL of their teachers."""

    title: ClassVar = "Accuracy of students over measures of their teachers"
    meaning: ClassVar = (
        "Each point is one student and its teacher. The rank correlation compares teachers of the "
        "same seed only: with 1, the teacher with the higher value always has the better student, "
        "with -1 the worse one. p is the share of permutations of the students within their seeds "
        "that give a correlation at least as strong. It takes the seeds as independent, although "
        "a method's teachers resemble each other: a small p says that the order of these methods "
        "is no accident of their seeds, not that other methods would be in the same order. "
        "Distance and spread are those on training images, and need known true label distributions."
    )

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return one point per pair, distiller and teacher method, with one run per seed."""
        return Points(tuple(self._points(expansion, name)))

    def _points(self, expansion: Expansion, name: str) -> Iterator[Point]:
        study, runs_of = expansion.study, self.runs(expansion, name)
        for pair in self.pairs_in(study):
            for distiller in self.distillers:
                panel = pair if len(self.distillers) == 1 else f"{pair} {distiller}"
                for method in self.teachers:
                    teachers = runs_of.teachers(pair, method)
                    runs = runs_of.students(pair, distiller, teachers)
                    differing = pair_deviations(study, pair, runs, method, distiller)
                    seeds = {"seeds": list(runs_of.seeds)}
                    yield Point(panel, method, runs, teachers, differing, seeds)
