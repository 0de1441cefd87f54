"""The page: one self-contained HTML file with all tables and figures of a study."""

from __future__ import annotations

import base64
from collections import Counter
from importlib import resources
from itertools import groupby
from typing import Any

import jinja2
import pandas as pd

from soteacher.report.grid import split_columns
from soteacher.report.machines import machine_notes
from soteacher.report.names import display_name
from soteacher.report.paper_note import FOLLOWS_TEXT, paper_note
from soteacher.report.tables import report_of
from soteacher.report.tables.base import TableReport

SCALE = 0.6
"""Page pixels per figure pixel: a figure has 200 pixels per inch, a page about 120."""
PAPER_NOTES = {
    "all": "",
    "some": "Some of the runs are not the paper's experiment",
    "none": "Not the paper's experiment",
}
"""Texts before a figure's deviations."""


def make_page(
    summary: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    figures: dict[str, tuple[bytes, pd.DataFrame]],
) -> str:
    """Return the HTML page of a study. It belongs in the folder with the study's tables and runs.

    summary : the return value of `study.summary.page_summary`.
    tables : name to the return value of `make_table`.
    figures : name to the PNG and the numbers in the figure.
    """
    source = resources.files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    shown = {
        "tables": [_table(name, summary["tables"][name], table) for name, table in tables.items()],
        "figures": [
            _figure(name, summary["figures"][name], png, drawn)
            for name, (png, drawn) in figures.items()
        ],
    }
    facts = summary["facts"] + _facts(summary, tables, figures)
    return template.render(summary | shown | {"facts": facts}, display_name=display_name)


def _facts(
    summary: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    figures: dict[str, tuple[bytes, pd.DataFrame]],
) -> list[str]:
    """Return the counts of runs by status, and a sentence if none is the paper's experiment."""
    listed = (block["runs"] for block in summary["figures"].values())
    statuses = {
        folder.partition("/")[2]: "not finished" for folders in listed for folder in folders
    }
    for _, drawn in figures.values():
        statuses |= {run: "done" for runs in drawn["runs"].dropna() for run in runs.split()}
    for table in tables.values():
        report = report_of(table)
        for _, cell in table.iterrows():
            statuses |= {run["id"]: run["status"] for run in report.run_values(cell)}
    counts = ", ".join(f"{n} {status}" for status, n in sorted(Counter(statuses.values()).items()))
    facts = [f"Runs in tables and figures: {counts}."] if statuses else []
    blocks = [*summary["tables"].values(), *summary["figures"].values()]
    if all(block["papers"] == "none" for block in blocks):
        facts.append(
            "Nothing here is the paper's experiment; differences from the paper are listed under "
            "each table and figure."
        )
    return facts


def _table(name: str, block: dict[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    columns = split_columns(table)
    heads = [(head, len(list(same))) for head, same in groupby(head for head, _ in columns)]
    report = report_of(table)
    rows = [
        (display_name(row), [_cell(report, cell) for _, cell in cells.iterrows()])
        for row, cells in table.groupby("row", sort=False)
    ]
    return {
        "id": name,
        "name": display_name(name),
        "heading": report.heading(block, table),
        "meaning": block["meaning"],
        "heads": heads if any(head for head, _ in heads) else [],
        "columns": [measure for _, measure in columns],
        "rows": rows,
        "paper_note": paper_note(report, block, table),
        "deviations": block["deviations"],
        "notes": report.notes(table),
    }


def _figure(name: str, block: dict[str, Any], png: bytes, drawn: pd.DataFrame) -> dict[str, Any]:
    shown = {run for runs in drawn["runs"] for run in str(runs).split()}
    folders = [folder for folder in block["runs"] if folder.partition("/")[2] in shown]
    note = PAPER_NOTES[block["papers"]] or (FOLLOWS_TEXT if block["deviations"] else "")
    notes = {"paper_note": note, "notes": machine_notes(drawn)}
    dots = int.from_bytes(png[16:20], "big")  # the bytes of a PNG's width
    image = {"image": base64.b64encode(png).decode(), "width": round(dots * SCALE)}
    return {"id": name, "name": display_name(name), **block, **image, **notes, "runs": folders}


def _cell(report: TableReport, cell: pd.Series) -> dict[str, Any]:
    """Return the text of a cell, and its runs with the paths of their records."""
    return {"text": report.shown(cell), "runs": report.run_values(cell)}
