"""Tables as Markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.report.grid import grid
from soteacher.report.names import display_name
from soteacher.report.paper_note import paper_note
from soteacher.report.tables import report_of


def notes_below(record: dict[str, Any], table: pd.DataFrame) -> list[str]:
    """Return the sentences below a table: the differences from the paper, and its notes."""
    report = report_of(table)
    differing = paper_note(report, record, table)
    deviations = [f"{differing}: {'; '.join(record['deviations'])}."] if differing else []
    return deviations + report.notes(table)


def to_markdown(record: dict[str, Any], table: pd.DataFrame) -> str:
    """Return the table as Markdown: heading, grid, notes."""
    heading = report_of(table).heading(record, table)
    text = grid(table).to_markdown(disable_numparse=True)
    lines = [f"## {display_name(record['name'])}", "", heading, "", text, ""]
    return "\n".join([*lines, *(f"{note}\n" for note in notes_below(record, table))])
