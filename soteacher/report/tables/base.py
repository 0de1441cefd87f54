"""What the report of a kind of table is: how the table is made, and the texts in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd


@dataclass(frozen=True)
class Inputs:
    """What tables are made from, besides their records; a kind takes what it needs."""

    measures: Callable[[], pd.DataFrame]
    """Returns the measures of the table's runs, by run id."""
    steps: Path | None = None
    """The CSV of the table's training steps, if it is a table of those."""


class TableReport(ABC):
    """How tables of one kind are made, and the texts in them.

    A kind is a subclass, registered under the name that the kind has in `study.kinds.tables`.
    """

    columns: ClassVar[tuple[str, ...]] = ("kind", "row", "column", "measure")
    """What the CSV of a table must have."""
    numbers: ClassVar[tuple[str, ...]] = ()
    """Columns with numbers that may be missing; an empty text in any other column is a text."""
    texts: ClassVar[Mapping[str, type]] = {}
    """Columns with texts that look like numbers, to `str`."""

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
        """Return what the table shows, in one sentence."""

    def notes(self, table: pd.DataFrame) -> list[str]:
        """Return the sentences below a table, each one a note."""
        return []

    def paper_note(self, table: pd.DataFrame) -> str:
        """Return what to say before the deviations from the paper; empty if there are none."""
        return ""

    def run_values(self, cell: pd.Series) -> list[dict[str, Any]]:
        """Return the runs behind a cell: `id`, `status`, `value` as text, and `record`, the place
        of the run's record beside the page, which may be None.
        """
        return []
