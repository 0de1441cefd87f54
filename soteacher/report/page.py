"""The page: one self-contained HTML file with all tables and figures of a study."""

from __future__ import annotations

import base64
from importlib import resources
from itertools import groupby
from typing import Any

import jinja2
import pandas as pd

from soteacher.report.labels import label
from soteacher.report.tables import heading, notes, number, shown, split_columns, whose

SCALE = 0.6
"""Pixels on the page for one of a figure: a figure has 200 to the inch, a page about 120."""


def make_page(
    summary: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    figures: dict[str, tuple[bytes, pd.DataFrame]],
) -> str:
    """HTML of a study, to lie in the folder that has its `tables`, `figures`, and runs.

    summary : what `study.describe.page_summary` says.
    tables : name to what `make_table` made.   figures : name to PNG, and to the numbers in it.
    """
    source = resources.files("soteacher.report").joinpath("page.html.j2").read_text()
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source)
    shown = {
        "tables": [_table(name, summary["tables"][name], table) for name, table in tables.items()],
        "figures": [
            _figure(name, summary["figures"][name], *made) for name, made in figures.items()
        ],
    }
    return template.render(summary | shown, label=label)


def _table(name: str, block: dict[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    columns = split_columns(table)
    heads = [(head, len(list(same))) for head, same in groupby(head for head, _ in columns)]
    rows = [
        (label(row), [_cell(cell) for _, cell in cells.iterrows()])
        for row, cells in table.groupby("row", sort=False)
    ]
    return {
        "id": name,
        "name": label(name),
        "heading": heading(block, table),
        "meaning": block["meaning"],
        "heads": heads if any(head for head, _ in heads) else [],
        "columns": [measure for _, measure in columns],
        "rows": rows,
        "whose": whose(table),
        "deviations": block["deviations"],
        "notes": notes(table),
    }


def _figure(name: str, block: dict[str, Any], png: bytes, drawn: pd.DataFrame) -> dict[str, Any]:
    shown = {run for runs in drawn["runs"] for run in str(runs).split()}
    folders = [folder for folder in block["runs"] if folder.partition("/")[2] in shown]
    dots = int.from_bytes(png[16:20], "big")  # a PNG's width stands there
    image = {"image": base64.b64encode(png).decode(), "width": round(dots * SCALE)}
    return {"id": name, "name": label(name), **block, **image, "runs": folders}


def _cell(cell: pd.Series) -> dict[str, Any]:
    """A number, and each of its runs with the place of its record; a blocked run has none."""
    facts = (cell[name].split() for name in ("runs", "values", "status"))
    runs = [
        {
            "id": run,
            "value": number(float(value), cell["measure"]) if status == "done" else status,
            "record": None if status == "blocked" else f"{cell['role']}s/{run}/run.json",
        }
        for run, value, status in zip(*facts, strict=True)
    ]
    return {"text": shown(cell), "runs": runs}
