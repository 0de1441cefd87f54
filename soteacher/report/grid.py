"""The grid of a table: its rows and columns, with texts in the cells."""

from __future__ import annotations

import pandas as pd

from soteacher.report.names import display_name
from soteacher.report.tables import report_of


def grid(table: pd.DataFrame) -> pd.DataFrame:
    """Return the texts of a table's cells, with printed names of rows and columns."""
    report = report_of(table)
    texts = table.assign(text=table.apply(report.shown, axis=1))
    wide = texts.pivot(index="row", columns="column", values="text")
    wide = wide.loc[list(dict.fromkeys(table["row"])), list(dict.fromkeys(table["column"]))]
    printed = wide.rename(
        index=display_name, columns=lambda column: display_name(column, report.labels)
    )
    return printed.rename_axis(index=None, columns=None)


def split_columns(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return for each column its pair or network, which may be empty, and its measure."""
    labels = report_of(table).labels
    parts = (column.rpartition(" ") for column in dict.fromkeys(table["column"]))
    return [(display_name(head), display_name(measure, labels)) for head, _, measure in parts]
