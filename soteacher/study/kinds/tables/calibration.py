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

MEASURES = ("ece", "ece_null", "nll", "ece_scaled", "ece_scaled_null", "nll_scaled")
"""The columns: the paper's in its order, and after each ECE that of a calibrated network."""


@register
class CalibrationTable(NetworkBlock):
    """ECE and NLL of teachers before and after temperature scaling: Table 3."""

    title: ClassVar = "Calibration of teachers on test images"
    meaning: ClassVar = (
        "ECE (expected calibration error, 15 bins) and NLL (negative log-likelihood, nats) measure "
        "how reliable the confidence is; lower is better. On a finite number of images ECE is "
        "positive for any network: the column beside it has the ECE that a perfectly calibrated "
        "network with the same confidences is expected to have. Scaled: after temperature scaling. "
        "The temperature for each half of the test set is fitted on the other half. All of these "
        "are measured against the labels of the test images. Where labels are drawn from known "
        "distributions, these are the drawn labels; accuracy is measured against the likeliest "
        "class instead."
    )

    def content(self, expansion: Expansion, name: str) -> Cells:
        """Return one row per network and teacher method."""
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
