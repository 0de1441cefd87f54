"""The text before the differences between the runs of a table and the paper's experiment."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.report.tables.base import TableReport

FOLLOWS_TEXT = "The paper's experiment, read as in its text where the authors' code differs"
"""The text if all runs are the paper's experiment, and some follow its text."""


def paper_note(report: TableReport, record: dict[str, Any], table: pd.DataFrame) -> str:
    """Return the text before the record's `deviations`; empty if there are none."""
    return report.paper_note(table) or (FOLLOWS_TEXT if record["deviations"] else "")
