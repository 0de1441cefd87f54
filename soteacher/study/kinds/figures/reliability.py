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
        "A point on the diagonal means that of the images predicted with, say, 80 % confidence, "
        "80 % are right; below it the teacher is too confident. Before and after temperature "
        "scaling."
    )

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return a panel per network and teacher method."""
        return Points(tuple(self._points(expansion, name)))

    def _points(self, expansion: Expansion, name: str) -> Iterator[Point]:
        runs_of = self.runs(expansion, name)
        for heading, pair in self.pair_of_each(expansion.study).items():
            for method in self.teachers:
                runs = runs_of.teachers(pair, method)
                differing = run_deviations(runs, method)
                yield Point(f"{heading} {method}", method, runs, deviations=differing)
