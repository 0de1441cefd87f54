"""Reliability diagrams of teachers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import NetworkBlock
from soteacher.study.kinds.comparison import run_deviations


@register
class ReliabilityFigure(NetworkBlock):
    """Confidence against accuracy of teachers, before and after temperature scaling."""

    title: ClassVar = "Reliability of teachers' confidence on test images"
    meaning: ClassVar = (
        "A point on the diagonal means that, for example, 80 % of the images predicted with 80 % "
        "confidence are classified correctly. Below the diagonal the teacher is overconfident. "
        "The figure shows this before and after temperature scaling. An image counts as correct "
        "if its label is predicted, also where labels are drawn from known distributions."
    )

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return one panel per network and teacher method."""
        return Points(tuple(self._points(expansion, name)))

    def _points(self, expansion: Expansion, name: str) -> Iterator[Point]:
        runs_of = self.runs(expansion, name)
        for heading, pair in self.pair_of_each(expansion.study).items():
            for method in self.teachers:
                runs = runs_of.teachers(pair, method)
                differing = run_deviations(runs, method)
                yield Point(f"{heading} {method}", method, runs, deviations=differing)
