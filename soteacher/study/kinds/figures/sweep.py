"""A teacher method with one setting changed at a time: Figure 2 of the paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import SeedRuns
from soteacher.study.kinds.comparison import pair_deviations
from soteacher.study.kinds.varied import VariedBlock
from soteacher.study.setting_change import SettingChange, text


@register
class SweepFigure(VariedBlock):
    """A teacher method with one setting changed at a time, and its students: Figure 2.

    `teachers` are the methods to compare it with.
    """

    title: ClassVar = (
        "Test accuracy of teachers and students as one setting of the teachers is changed"
    )
    meaning: ClassVar = (
        "Each point changes one setting of the teacher method and keeps its other settings. The "
        "triangle marks the value that the method has in the rest of the study. The values are "
        "chosen by this project, because the paper does not list its values."
    )

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return one panel per setting, and per pair if there are several."""
        runs_of = self.runs(expansion, name)
        pairs = self.pairs_in(expansion.study)
        points: list[Point] = []
        for pair in pairs:
            for setting in self.vary:
                panel = setting if len(pairs) == 1 else f"{pair} {setting}"
                for distiller in self.distillers:
                    points += self._swept(runs_of, panel, pair, setting, distiller)
                    points += self._compared(runs_of, panel, pair, distiller)
        return Points(tuple(points))

    def _swept(
        self, runs_of: SeedRuns, panel: str, pair: str, setting: str, distiller: str
    ) -> Iterator[Point]:
        """Return the points of all values of a setting, sorted if they are numbers."""
        study = runs_of.expansion.study
        base_value, values = self.values_of(setting, self.base_in(study, pair))
        runs = runs_of.students(pair, distiller, runs_of.teachers(pair, self.base))
        differing = pair_deviations(study, pair, runs, self.base, distiller)
        series = self.series(self.base, distiller)
        for value in values:
            teachers = runs_of.teachers(pair, self.base, SettingChange(setting, value))
            runs = runs_of.students(pair, distiller, teachers)
            position = {"value": text(value), "is_base_value": value == base_value}
            yield Point(panel, series, runs, teachers, differing, position)

    def _compared(
        self, runs_of: SeedRuns, panel: str, pair: str, distiller: str
    ) -> Iterator[Point]:
        """Return the points of the methods to compare with, which have no value of the setting."""
        for method in self.teachers:
            teachers = runs_of.teachers(pair, method)
            runs = runs_of.students(pair, distiller, teachers)
            differing = pair_deviations(runs_of.expansion.study, pair, runs, method, distiller)
            series = self.series(method, distiller)
            position = {"value": "", "is_base_value": False}
            yield Point(panel, series, runs, teachers, differing, position)
