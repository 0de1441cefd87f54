"""Base class of the reports of figures: the numbers in a figure, and its drawing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from soteacher.report.names import display_name


@dataclass(frozen=True)
class Measured:
    """Inputs of figures, besides their records; each kind uses those that it needs."""

    runs: pd.DataFrame
    """Measures, by run id."""
    epochs: pd.DataFrame
    """One row per run and epoch."""
    reliability: pd.DataFrame
    """One row per run, bin of confidence, and whether the logits were scaled."""
    disagreement: pd.DataFrame
    """One row per run and tenth of the training images; none where images have no tenths."""


class FigureReport(ABC):
    """The numbers and the drawing of one kind of figure.

    A kind is a subclass, registered under the name that the kind has in `study.kinds.figures`.
    """

    @abstractmethod
    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return the numbers in the figure, one row per number that is drawn.

        Each row has at least `panel`, `n` and `n_planned` (numbers of runs), and `runs`, the ids of
        the n finished runs, separated by spaces. A point without finished runs has one with n = 0.
        """

    @abstractmethod
    def draw(self, table: pd.DataFrame) -> Figure:
        """Return a drawing of the table that `values` returned, from this table alone."""

    def describe(self, table: pd.DataFrame) -> str:
        """Return whole sentences for readers who do not see the drawing: what is drawn over what,
        and the main numbers of the table.
        """
        return f"Panels: {'; '.join(map(display_name, dict.fromkeys(table['panel'])))}."
