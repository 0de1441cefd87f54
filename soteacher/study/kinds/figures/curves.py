"""Accuracy over the epochs of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import PairBlock, check_trained, teacher_heading
from soteacher.study.kinds.comparison import pair_deviations, run_deviations
from soteacher.study.schema import Components


@register
class CurvesFigure(PairBlock):
    """Accuracy of teachers and of their students over the epochs of their training."""

    title: ClassVar = "Accuracy over the epochs of training"
    meaning: ClassVar = (
        "Training accuracy is measured against the labels that the network is trained on, test "
        "accuracy against the classes of the test images."
    )

    def check(self, study: Components, where: str) -> None:
        """Also check that the teachers are trained."""
        super().check(study, where)
        check_trained(self.teachers, study, where)

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return the lines of each teacher network, then the lines of each pair's students."""
        return Points(tuple(self._points(expansion, name)))

    def _points(self, expansion: Expansion, name: str) -> Iterator[Point]:
        study, runs_of = expansion.study, self.runs(expansion, name)
        shown: set[str] = set()
        students = []
        for pair in self.pairs_in(study):
            heading = teacher_heading(study, pair)
            for method in self.teachers:
                teachers = runs_of.teachers(pair, method)
                if heading not in shown:
                    differing = run_deviations(teachers, method)
                    yield Point(heading, method, teachers, deviations=differing)
                for distiller in self.distillers:
                    runs = runs_of.students(pair, distiller, teachers)
                    differing = pair_deviations(study, pair, runs, method, distiller)
                    series = self.series(method, distiller)
                    students.append(Point(pair, series, runs, deviations=differing))
            shown.add(heading)
        yield from students
