"""Test accuracy of students by distiller: Table 6 of the paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Cell, Cells
from soteacher.study.expansion import ALONE, Expansion
from soteacher.study.kinds.alone import AloneBlock
from soteacher.study.kinds.comparison import ALONE_DIFFERS, pair_deviations


@register
class DistillerTable(AloneBlock):
    """Students' test accuracy, one row per distiller, one column per pair and teacher: Table 6."""

    title: ClassVar = "Test accuracy in percent of students, by distiller and teacher method"
    meaning: ClassVar = (
        "The paper claims that nearly every distiller gives a better student when the teacher is "
        "trained for its student. The columns of a pair differ in the teacher method, and in the "
        "distiller's weight, which depends on the teacher method (Table 5)."
    )

    def content(self, expansion: Expansion, name: str) -> Cells:
        """Return one cell per distiller, pair and teacher method."""
        return Cells(tuple(self._cells(expansion, name)))

    def _cells(self, expansion: Expansion, name: str) -> Iterator[Cell]:
        study, runs_of = expansion.study, self.runs(expansion, name)
        if self.alone:  # the same runs in each column of a pair: they have no teacher
            for pair in self.pairs_in(study):
                for method in self.teachers:
                    runs = runs_of.alone(pair)
                    yield Cell(ALONE, f"{pair} {method}", "top1", runs, (ALONE_DIFFERS,))
        for distiller in self.distillers:
            paper_row = study.distillers[distiller].method
            for pair in self.pairs_in(study):
                for method in self.teachers:
                    runs = runs_of.students(pair, distiller, runs_of.teachers(pair, method))
                    differing = pair_deviations(study, pair, runs, method, distiller)
                    yield Cell(distiller, f"{pair} {method}", "top1", runs, differing, paper_row)
