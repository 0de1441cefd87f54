"""Tables with one row per teacher method, and columns `<role>.<measure>` for each pair."""

from __future__ import annotations

from collections.abc import Iterator

from soteacher.study.contents import Cell, Cells
from soteacher.study.expansion import ALONE, Expansion
from soteacher.study.kinds.alone import AloneBlock
from soteacher.study.kinds.base import PairBlock
from soteacher.study.kinds.comparison import ALONE_DIFFERS, pair_deviations


class ColumnsTable(PairBlock):
    """A table with the same columns for each pair."""

    columns: tuple[str, ...]  # `<role>.<measure>`; each kind lists the allowed ones

    def heading(self, expansion: Expansion, pair: str, role: str) -> str:
        """Return the heading of a pair's columns; columns with equal headings are shown once."""
        return pair

    def content(self, expansion: Expansion, name: str) -> Cells:
        """Return one cell per method, distiller, pair and column."""
        return Cells(tuple(self._cells(expansion, name)))

    def _cells(self, expansion: Expansion, name: str) -> Iterator[Cell]:
        runs_of = self.runs(expansion, name)
        for method in self.teachers:
            for distiller in self.distillers:
                for pair, role, measure, heading in self._columns(expansion):
                    runs = runs_of.teachers(pair, method)
                    if role == "student":
                        runs = runs_of.students(pair, distiller, runs)
                    differing = pair_deviations(expansion.study, pair, runs, method, distiller)
                    row = self.series(method, distiller)
                    yield Cell(row, heading, measure, runs, differing, paper_row=method)

    def _columns(self, expansion: Expansion) -> Iterator[tuple[str, str, str, str]]:
        """Yield the pair, the role, the measure and the heading of each column."""
        shown: set[str] = set()
        for pair in self.pairs_in(expansion.study):
            for column in self.columns:
                role, measure = column.split(".")
                heading = f"{self.heading(expansion, pair, role)} {column}"
                if heading not in shown:  # another pair may have the same teacher
                    shown.add(heading)
                    yield pair, role, measure, heading


class StudentColumnsTable(ColumnsTable, AloneBlock):
    """A table with the same columns for each pair, and on request a row of students alone."""

    def content(self, expansion: Expansion, name: str) -> Cells:
        """Return also one cell per column of students alone; those of teachers have no runs."""
        others = super().content(expansion, name)
        return Cells((*self._alone_cells(expansion, name), *others.cells))

    def _alone_cells(self, expansion: Expansion, name: str) -> Iterator[Cell]:
        runs_of = self.runs(expansion, name)
        for pair, role, measure, heading in self._columns(expansion) if self.alone else ():
            runs = runs_of.alone(pair) if role == "student" else ()
            yield Cell(ALONE, heading, measure, runs, (ALONE_DIFFERS,))
