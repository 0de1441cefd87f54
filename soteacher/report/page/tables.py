"""The tables of the page: their cells, and which blocks are shown as one table."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

import pandas as pd

from soteacher.report.grid import split_columns
from soteacher.report.names import display_name
from soteacher.report.page.differences import difference_of
from soteacher.report.paper_note import paper_note
from soteacher.report.tables import report_of

NO_CELL: dict[str, Any] = {"text": "–", "runs": [], "difference": ""}
"""In a row that another block has, and not the block of the column."""


def page_tables(
    blocks: dict[str, dict[str, Any]],
    tables: dict[str, pd.DataFrame],
    comparisons: pd.DataFrame | None,
) -> list[dict[str, Any]]:
    """Return what the template shows of the tables.

    Blocks of one table of the paper, such as `table7` and `table7_calibration`, are one table with
    the columns of all of them, if the rows of the first one include the others'. Their files stay
    separate.

    blocks : the tables in the summary.   tables : name to the return value of `make_table`.
    comparisons : differences from the reference, which the details of a cell show.
    """
    groups: list[tuple[str, tuple[str, ...], list[str]]] = []
    for name, table in tables.items():
        rows, _ = _methods(table)
        paper_table = name.partition("_")[0]
        for known, all_rows, names in groups:
            if paper_table == known and {*rows} <= {*all_rows}:
                names.append(name)
                break
        else:
            groups.append((paper_table, rows, [name]))
    return [
        _page_table(names, blocks, tables, comparisons)  # in the place of the first block
        for _, _, names in groups
    ]


def _methods(table: pd.DataFrame) -> tuple[tuple[str, ...], str]:
    """Return the rows of a table without a network that they all begin with, and that network."""
    rows = tuple(dict.fromkeys(table["row"]))
    heads = {row.rpartition(" ")[0] for row in rows}
    if len(heads) > 1:
        return rows, ""
    return tuple(row.rpartition(" ")[2] for row in rows), heads.pop()


def _page_table(
    names: list[str],
    blocks: dict[str, dict[str, Any]],
    tables: dict[str, pd.DataFrame],
    comparisons: pd.DataFrame | None,
) -> dict[str, Any]:
    columns: list[tuple[str, str]] = []
    cells: dict[str, list[dict[str, Any]]] = {}
    parts, notes = [], []
    paper_notes: dict[str, list[str]] = {}
    for name in names:
        table, block = tables[name], blocks[name]
        report = report_of(table)
        rows, network = _methods(table) if len(names) > 1 else (tuple(table["row"]), "")
        own = [(head or display_name(network), measure) for head, measure in split_columns(table)]
        new = [column not in columns for column in own]  # another block may have it too
        columns += [column for column, is_new in zip(own, new, strict=True) if is_new]
        for row in set(cells) - {*rows}:
            cells[row] += [NO_CELL] * sum(new)
        by_row = [of_row for _, of_row in table.groupby("row", sort=False)]
        for row, of_row in zip(dict.fromkeys(rows), by_row, strict=True):
            cells.setdefault(row, []).extend(
                {
                    "text": report.shown(cell),
                    "runs": report.run_values(cell),
                    "difference": difference_of(cell, comparisons),
                }
                for _, cell in of_row[new].iterrows()
            )
        parts.append(
            {"id": name, "heading": report.heading(block, table), "meaning": block["meaning"]}
        )
        note = paper_note(report, block, table)
        if note:
            paper_notes.setdefault(note, []).extend(block["deviations"])
        notes += report.notes(table)
    heads = [(head, len(list(same))) for head, same in groupby(head for head, _ in columns)]
    return {
        "id": names[0],
        "name": display_name(names[0]),
        "parts": parts,
        "heads": heads if any(head for head, _ in heads) else [],
        "columns": columns,
        "labels": _labels(columns),
        "rows": [(display_name(row), of_row) for row, of_row in cells.items()],
        "paper_notes": [(note, list(dict.fromkeys(texts))) for note, texts in paper_notes.items()],
        "notes": list(dict.fromkeys(notes)),
        "files": names,
    }


def _labels(columns: list[tuple[str, str]]) -> list[str]:
    """Return the names of columns where a table is stacked, with the pair only where needed."""
    measures = Counter(measure for _, measure in columns)
    return [
        f"{head}: {measure}" if head and measures[measure] > 1 else measure
        for head, measure in columns
    ]
