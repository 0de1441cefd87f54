"""Base class of the reports of tables: the values of a table, and its texts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd


@dataclass(frozen=True)
class Inputs:
    """Inputs of tables, besides their records; each kind uses those that it needs."""

    measures: Callable[[], pd.DataFrame]
    """Returns the measures of the table's runs, by run id."""
    steps: Path | None = None
    """The CSV of the training steps, for a table of step times."""


class TableReport(ABC):
    """The values and the texts of one kind of table.

    A kind is a subclass, registered under the name that the kind has in `study.kinds.tables`.
    """

    columns: ClassVar[tuple[str, ...]] = ("kind", "row", "column", "measure")
    """Columns that the CSV of a table must have."""
    numbers: ClassVar[tuple[str, ...]] = ()
    """Columns with numbers that may be missing; in any other column, an empty text is a text."""
    texts: ClassVar[Mapping[str, type]] = {}
    """Name to `str` of columns with texts that look like numbers."""

    labels: ClassVar[Mapping[str, str]] = {}
    """Printed forms of the words in the names of columns."""

    @abstractmethod
    def make(self, record: dict[str, Any], inputs: Inputs) -> pd.DataFrame:
        """Return the table, one row per cell, with at least `row`, `column` and `measure`."""

    @abstractmethod
    def shown(self, cell: pd.Series) -> str:
        """Return the text of a cell."""

    @abstractmethod
    def heading(self, record: dict[str, Any], table: pd.DataFrame) -> str:
        """Return the heading of the table, one sentence."""

    def notes(self, table: pd.DataFrame) -> list[str]:
        """Return the notes below a table."""
        return []

    def paper_note(self, table: pd.DataFrame) -> str:
        """Return the text before the deviations from the paper; empty if there are none."""
        return ""

    def run_values(self, cell: pd.Series) -> list[dict[str, Any]]:
        """Return the runs behind a cell: `id`, `status`, `value` as text, and `record`, the path of
        the run's record relative to the page, which may be None.
        """
        return []
