"""Calibration of teachers: Table 3 of the paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from soteacher.core.registry import register
from soteacher.study.contents import Cell, Cells
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import NetworkBlock
from soteacher.study.kinds.comparison import run_deviations
from soteacher.study.schema import networks

MEASURES = ("ece", "nll", "ece_scaled", "nll_scaled")
"""The columns, in the paper's order."""


@register
class CalibrationTable(NetworkBlock):
    """ECE and NLL of teachers before and after temperature scaling: Table 3."""

    title: ClassVar = "Calibration of teachers on test images"
    meaning: ClassVar = (
        "ECE (expected calibration error, 15 bins) and NLL (negative log-likelihood, nats) say how "
        "far confidence can be trusted; lower is better. Scaled: after temperature scaling, each "
        "image with the temperature fitted on the half of the test set it is not in."
    )

    def content(self, expansion: Expansion, name: str) -> Cells:
        """Return a row per network and teacher method."""
        return Cells(tuple(self._cells(expansion, name)))

    def _cells(self, expansion: Expansion, name: str) -> Iterator[Cell]:
        study, runs_of = expansion.study, self.runs(expansion, name)
        for heading, pair in self.pair_of_each(study).items():
            network, _ = networks(pair, study.pairs[pair])
            for method in self.teachers:
                runs = runs_of.teachers(pair, method)
                row, paper_row = f"{heading} {method}", f"{network} {method}"
                differing = run_deviations(runs, method)
                for measure in MEASURES:
                    yield Cell(row, measure, measure, runs, differing, paper_row)
