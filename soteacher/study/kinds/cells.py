"""Tables with one row per teacher method, and columns `<role>.<measure>` for each pair."""

from __future__ import annotations

from collections.abc import Iterator

from soteacher.study.contents import Cell, Cells
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import PairBlock
from soteacher.study.kinds.comparison import pair_deviations


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
                shown: set[str] = set()
                for pair in self.pairs_in(expansion.study):
                    for column in self.columns:
                        role, measure = column.split(".")
                        heading = f"{self.heading(expansion, pair, role)} {column}"
                        if heading in shown:  # another pair has the same teacher
                            continue
                        shown.add(heading)
                        runs = runs_of.teachers(pair, method)
                        if role == "student":
                            runs = runs_of.students(pair, distiller, runs)
                        differing = pair_deviations(expansion.study, pair, runs, method, distiller)
                        row = self.series(method, distiller)
                        yield Cell(row, heading, measure, runs, differing, paper_row=method)
