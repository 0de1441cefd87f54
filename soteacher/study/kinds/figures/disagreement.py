"""Measures against p* by tenths of the labellers' disagreement about the training images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Point, Points
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import PairBlock, check_counts, teacher_heading
from soteacher.study.kinds.comparison import pair_deviations, run_deviations
from soteacher.study.schema import Components


@register
class DisagreementFigure(PairBlock):
    """Distance, excess NLL and spread of predictions by tenths of the labellers' disagreement."""

    title: ClassVar = "Predictions for training images by the disagreement of their labellers"
    meaning: ClassVar = (
        "The true label distribution p* of each training image is that of its label counts. The "
        "images are ordered by the largest probability of p*, and divided into tenths: on the left "
        "the labellers agree most, on the right least; the scale shows the mean largest "
        "probability. Distance is the mean ℓ2 distance of the predicted probabilities from p*. "
        "Excess NLL is the NLL that is expected for drawn labels, minus the entropy of p*. Spread "
        "is around the mean prediction for like images: those whose p* agree after rounding to one "
        "decimal. As their p* still differ a little, p* itself has some spread. Images without "
        "like images are left out of it. Lower is better in distance and excess NLL."
    )

    def check(self, study: Components, where: str) -> None:
        """Also check that the data sets of the pairs have label counts."""
        super().check(study, where)
        check_counts(self.pairs_in(study), study, f"{where}.pairs")

    def content(self, expansion: Expansion, name: str) -> Points:
        """Return a panel of teachers for each network, then panels of students: one for each pair
        and distiller.
        """
        return Points(tuple(self._points(expansion, name)))

    def _points(self, expansion: Expansion, name: str) -> Iterator[Point]:
        study, runs_of = expansion.study, self.runs(expansion, name)
        for heading, pair in self._pair_of_each_teacher(study).items():
            for method in self.teachers:
                runs = runs_of.teachers(pair, method)
                yield Point(heading, method, runs, deviations=run_deviations(runs, method))
        for pair in self.pairs_in(study):
            for distiller in self.distillers:
                panel = pair if len(self.distillers) == 1 else f"{pair} {distiller}"
                for method in self.teachers:
                    runs = runs_of.students(pair, distiller, runs_of.teachers(pair, method))
                    differing = pair_deviations(study, pair, runs, method, distiller)
                    yield Point(panel, method, runs, deviations=differing)

    def _pair_of_each_teacher(self, study: Components) -> dict[str, str]:
        """Return the heading of each teacher network, to the first pair that has it."""
        pairs: dict[str, str] = {}
        for pair in self.pairs_in(study):
            pairs.setdefault(teacher_heading(study, pair), pair)
        return pairs
