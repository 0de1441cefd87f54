"""Blocks of cells and rows of measures, for the tests of tables and pages."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.report.tables import make_table, report_of, table_report
from soteacher.report.tables.base import Inputs
from soteacher.results.columns import COLUMNS

PAIR = "wrn_40_2/wrn_40_1"
STUDENT, TEACHER = f"{PAIR} student.top1", f"{PAIR} teacher.top1"
MACHINE = {
    "device": "A CPU",
    "capability": "",
    "threads": 1,
    "precision": "float32",
    "torch": "2.0.1",
    "soteacher": "1.2.3",
}


def row(run: str, top1: float, **others: Any) -> dict[str, Any]:
    """Measures of a finished run, as `measure` tells them."""
    known = {"run": run, "spec_sha256": f"hash of {run}", "status": "done", "top1": top1}
    return dict.fromkeys(COLUMNS, "") | MACHINE | known | {"best_top1": top1} | others


def lost(run: str, status: str, note: str) -> dict[str, Any]:
    """Measures of a run that diverged or was blocked."""
    known = {"run": run, "spec_sha256": f"hash of {run}", "status": status, "note": note}
    return dict.fromkeys(COLUMNS, "") | known


def cell(
    name: str,
    runs: list[str],
    column: str = STUDENT,
    measure: str = "top1",
    papers: bool = False,
    role: str = "student",
) -> dict[str, Any]:
    """A cell of a block."""
    where = {"row": name, "column": column, "measure": measure}
    return where | {"paper_row": name, "runs": runs, "papers": papers, "role": role}


def block_of(
    *cells: dict[str, Any],
    name: str = "table1",
    deviations: tuple[str, ...] = (),
    kind: str = "accuracy",
) -> dict[str, Any]:
    """What a table is made of besides measures, as `summary` tells it."""
    return {
        "name": name,
        "kind": kind,
        "title": "Test accuracy in percent",
        "meaning": "Higher is better.",
        "cells": list(cells),
        "runs": {run: f"hash of {run}" for made in cells for run in made["runs"]},
        "deviations": list(deviations),
        "papers": "none" if deviations else "all",
    }


def tabulate(block: dict[str, Any], *rows: dict[str, Any]) -> pd.DataFrame:
    """The table of a block and the measures of its runs."""
    return make_table(block, Inputs(lambda: pd.DataFrame(rows).set_index("run")))


def shown(cell: pd.Series) -> str:
    """The text of a cell."""
    return table_report(cell["kind"]).shown(cell)


def heading(block: dict[str, Any], table: pd.DataFrame) -> str:
    """The sentence above a table."""
    return report_of(table).heading(block, table)


def notes(table: pd.DataFrame) -> list[str]:
    """The sentences below a table."""
    return report_of(table).notes(table)


def paper_note(table: pd.DataFrame) -> str:
    """What is said before the deviations of a table."""
    return report_of(table).paper_note(table)
