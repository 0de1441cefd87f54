"""A teacher method with two settings changed at once, in all combinations of their values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, ClassVar

from pydantic import Field

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import SeedRuns
from soteacher.study.kinds.comparison import pair_deviations
from soteacher.study.kinds.types import Listed, Value
from soteacher.study.kinds.varied import VariedBlock
from soteacher.study.schema import Components
from soteacher.study.setting_change import Change, Regularizers, SettingChange, crossed, text


@register
class GridFigure(VariedBlock):
    """A teacher method with two settings changed in all combinations, and its students.

    `teachers` are the methods to compare it with.
    """

    title: ClassVar = (
        "Test accuracy of students and teachers over all combinations of two settings of the "
        "teachers"
    )
    meaning: ClassVar = (
        "Each cell changes two settings of the teacher method and keeps its other settings. The "
        "triangle marks the values that the method has in the rest of the study. The frame marks "
        "the largest mean of each map. It was chosen on the test images among all cells, so its "
        "accuracy is an optimistic estimate, and so is its interval: confirm it with other seeds."
    )

    vary: Annotated[dict[str, Listed[Value]], Field(min_length=2, max_length=2)]
    """Values to show for each of two settings, `<regularizer>.<setting>`, of the teacher method
    `base`: the first setting across, the second upwards. A `weight` of 0 leaves the regularizer
    out. The value that `base` has is always shown."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the values of both settings can be combined."""
        super().check(study, where)
        for pair in self.pairs_in(study):
            base = self.base_in(study, pair)
            for values, change in self._cells(base):
                try:
                    if change is not None:
                        change.of(base)
                except UserError as error:
                    both = " with ".join(
                        f"{name} {text(value)}"
                        for name, value in zip(self.vary, values, strict=True)
                    )
                    raise UserError(f"{where}.vary: {both}: {error}") from None

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return one panel per pair, and per distiller if there are several."""
        runs_of = self.runs(expansion, name)
        points: list[Point] = []
        for pair in self.pairs_in(expansion.study):
            base = self.base_in(expansion.study, pair)
            for distiller in self.distillers:
                for values, change in self._cells(base):
                    x, y = map(text, values)
                    place = {"x_value": x, "y_value": y, "is_base_value": change is None}
                    points.append(self._point(runs_of, pair, distiller, self.base, change, place))
                for method in self.teachers:
                    place = {"x_value": "", "y_value": "", "is_base_value": False}
                    points.append(self._point(runs_of, pair, distiller, method, None, place))
        return Points(tuple(points))

    def _cells(self, base: Regularizers) -> Iterator[tuple[tuple[float | str, ...], Change | None]]:
        """Return both values of each cell, and the change of the base that gives it."""
        for values in product(*(self.values_of(setting, base)[1] for setting in self.vary)):
            changes = [
                SettingChange(name, value) for name, value in zip(self.vary, values, strict=True)
            ]
            yield values, crossed(changes, base)

    def _point(
        self,
        runs_of: SeedRuns,
        pair: str,
        distiller: str,
        method: str,
        change: Change | None,
        place: dict[str, Any],
    ) -> Point:
        """Return one cell, or a method to compare with, which has no values of the settings."""
        study = runs_of.expansion.study
        unchanged = runs_of.students(pair, distiller, runs_of.teachers(pair, method))
        teachers = runs_of.teachers(pair, method, change)
        runs = runs_of.students(pair, distiller, teachers)
        differing = pair_deviations(study, pair, unchanged, method, distiller)
        x, y = self.vary
        position = {"x_setting": x, "y_setting": y, **place}
        panel = pair if len(self.distillers) == 1 else f"{pair} {distiller}"
        return Point(panel, method, runs, teachers, differing, position)
