"""What the report of a kind of figure is: the numbers that are drawn, and how they are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Measured:
    """What figures are made from, besides their records; a kind takes what it needs."""

    runs: pd.DataFrame
    """Measures, by run id."""
    epochs: pd.DataFrame
    """One row per run and epoch."""
    reliability: pd.DataFrame
    """One row per run, bin of confidence, and whether the logits were scaled."""


class FigureReport(ABC):
    """How figures of one kind are made.

    A kind is a subclass, registered under the name that the kind has in `study.kinds.figures`.
    """

    @abstractmethod
    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return the numbers in the figure, one row per number that is drawn.

        Each row has at least `panel`, `n` and `n_planned` (runs), and `runs`, the ids of the n
        finished runs between spaces. A point without a finished run has a row with n = 0.
        """

    @abstractmethod
    def draw(self, table: pd.DataFrame) -> Figure:
        """Return a drawing of what `values` returned, and of nothing else."""
