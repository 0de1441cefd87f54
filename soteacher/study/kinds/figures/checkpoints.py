"""Students distilled from their teacher's weights after different epochs: Figure 1 of the paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import PairBlock, check_trained
from soteacher.study.kinds.comparison import pair_deviations
from soteacher.study.schema import Components


@register
class CheckpointsFigure(PairBlock):
    """Students distilled from their teacher's weights after different epochs: Figure 1."""

    title: ClassVar = "Students distilled from their teacher's weights after different epochs"
    meaning: ClassVar = (
        "Each point is a student distilled, from a new initialisation, from the teacher's weights "
        "after that many epochs. Where the teacher's line rises and the student's does not, more "
        "teacher training does not help the student."
    )

    every: int = Field(ge=1)
    """Number of epochs between the teacher's checkpoints, which the teacher's recipe must keep."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the teachers' recipes keep the checkpoints that the figure needs."""
        super().check(study, where)
        check_trained(self.teachers, study, where)
        for name in self.pairs_in(study):
            recipe_name = study.pairs[name].teacher_recipe
            recipe = study.recipes[recipe_name]
            if self.every >= recipe.epochs:
                raise UserError(
                    f"{where}.every: expected less than the {recipe.epochs} epochs of recipe "
                    f"'{recipe_name}', because the figure shows several epochs; got {self.every}"
                )
            every = recipe.keep_every
            if every == 0 or self.every % every != 0:
                kept = f"keeps them every {every}" if every else "keeps only the last ones"
                raise UserError(
                    f"{where}.every: needs the teacher's weights every {self.every} epochs, but "
                    f"recipe '{recipe_name}' {kept}; set its keep_every to {self.every}, or to a "
                    "divisor of it"
                )

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return one point per pair, series and epoch."""
        return Points(tuple(self._points(expansion, name)))

    def _points(self, expansion: Expansion, name: str) -> Iterator[Point]:
        study, runs_of = expansion.study, self.runs(expansion, name)
        for pair in self.pairs_in(study):
            for method in self.teachers:
                teachers = runs_of.teachers(pair, method)
                last = teachers[0].spec.recipe.epochs  # with those of fine-tuning
                for distiller in self.distillers:
                    series = self.series(method, distiller)
                    final = runs_of.students(pair, distiller, teachers)
                    differing = pair_deviations(study, pair, final, method, distiller)
                    for epoch in (*range(self.every, last, self.every), last):
                        runs = runs_of.students(pair, distiller, teachers, epoch)
                        yield Point(pair, series, runs, teachers, differing, {"epoch": epoch})
