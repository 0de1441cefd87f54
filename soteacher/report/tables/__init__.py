"""The reports of the kinds of tables, one registered file per kind of `study.kinds.tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core import registry
from soteacher.core.errors import UserError, unknown
from soteacher.core.hash_list import read_listed
from soteacher.report.csv_files import parse_csv, unreadable
from soteacher.report.tables.base import Inputs, TableReport


def table_report(kind: str) -> TableReport:
    """Return the report of a kind of table; `UserError` if there is none."""
    known = registry.names("report of a table")
    if kind not in known:
        raise UserError(
            f"{unknown('kind of table', kind, known)}; soteacher/report/tables/ has none"
        )
    report: TableReport = registry.get("report of a table", kind)()
    return report


def report_of(table: pd.DataFrame) -> TableReport:
    """Return the report of a table that `make_table` returned."""
    return table_report(table["kind"].iloc[0])


def make_table(record: dict[str, Any], inputs: Inputs) -> pd.DataFrame:
    """Return a table, one row per cell, with its kind in the column `kind`.

    record : the return value of `study.summary.block_record`.
    """
    table = table_report(record["kind"]).make(record, inputs)
    table.insert(0, "kind", record["kind"])
    return table


def read_table(path: Path) -> pd.DataFrame:
    """Return a table, equal to the one from `make_table`, from its CSV, which must be listed."""
    return parse_table(path, read_listed(path))


def parse_table(path: Path, data: bytes) -> pd.DataFrame:
    """Return a table from the content of its CSV file."""
    # an empty text and the text `nan` are not missing values
    kinds = parse_csv(path, data, ("kind",), dtype=str, keep_default_na=False)["kind"]
    if kinds.empty:
        raise unreadable(path, "it has no rows")
    report = table_report(kinds.iloc[0])
    numbers: dict[str, Any] = {name: [""] for name in report.numbers}
    options = {"dtype": report.texts, "keep_default_na": False, "na_values": numbers}
    return parse_csv(path, data, report.columns, **options)
