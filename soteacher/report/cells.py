"""Tables of runs: mean and standard deviation over seeds, with the paper's value where it applies.

A kind of table that shows cells of runs is a subclass of `RunsTable`, often a very short one.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pandas as pd

from soteacher.report.machines import machine_notes, trained_on
from soteacher.report.paper_values import RUNS, paper_values
from soteacher.report.tables.base import Inputs, TableReport

PERCENT = {"top1", "top5", "agreement"}
"""Measures that are shares in [0, 1] and are shown in percent."""

MOST_TRIVIAL = 5
"""With this number of classes, or fewer, every class is among the first five."""

AGAINST_PAPER = f"p is that of Welch's test against the paper's value, the mean of {RUNS} runs."


def number(value: float, measure: str, sign: str = "") -> str:
    """Return a value as text, with two decimals if it is in percent and three otherwise.

    sign : `+` to always show the sign.
    """
    return f"{value:{sign}.2f}" if measure in PERCENT else f"{value:{sign}.3f}"


class RunsTable(TableReport):
    """A table of cells of runs.

    Accuracies and agreement are in percent. `best_mean` and `best_sd` use the best epoch of each
    run, for measures that have one. They are for information only, because the test set selects
    the epoch. The paper's value is in the table only for cells with the paper's experiment: the
    same data, networks, recipe and methods. `difference_low`, `difference_high` and `difference_p`
    are the 95 % interval and the p value of the difference from it, by Welch's test. `runs`,
    `values` and `status` list the runs behind the mean, in the same order.
    """

    columns: ClassVar = (
        *TableReport.columns,
        *("role", "papers", "runs", "values", "status", "remark"),
    )
    numbers: ClassVar = (
        *("mean", "sd", "best_mean", "best_sd", "paper_mean", "paper_sd", "difference"),
        *("difference_low", "difference_high", "difference_p"),
    )
    texts: ClassVar = {"values": str}

    def make(self, record: dict[str, Any], inputs: Inputs) -> pd.DataFrame:
        """Return the table: mean, sample standard deviation (n - 1), number of runs, and so on."""
        measures, paper = inputs.measures(), paper_values()
        return pd.DataFrame(
            [_cell_values(record["name"], cell, measures, paper) for cell in record["cells"]]
        )

    def shown(self, cell: pd.Series) -> str:
        """Return mean ± sd; the paper's value and the difference; n if runs are missing.

        A cell that never has runs has a dash.
        """
        measure = cell["measure"]
        if cell["n_planned"] == 0:
            return "–"
        if cell["n"] == 0:
            text = "none"
        elif cell["n"] == 1:
            text = number(cell["mean"], measure)
        else:
            text = f"{number(cell['mean'], measure)} ± {number(cell['sd'], measure)}"
        if pd.notna(cell["paper_mean"]):
            paper, deviation = (number(cell[name], measure) for name in ("paper_mean", "paper_sd"))
            text += f" (paper {paper} ± {deviation}"
            if cell["n"]:
                text += f", {number(cell['difference'], measure, '+')}"
            if pd.notna(cell["difference_p"]):
                text += f", p = {cell['difference_p']:.2g}"
            text += ")"
        if cell["n"] < cell["n_planned"]:
            text += f" (n = {cell['n']} of {cell['n_planned']})"
        return text

    def heading(self, record: dict[str, Any], table: pd.DataFrame) -> str:
        """Return the title with the number of seeds."""
        planned = sorted(set(table["n_planned"]) - {0})
        if planned == [1]:
            return f"{record['title']}; one seed (n = 1), last epoch."
        n = " or ".join(str(n) for n in planned)
        return (
            f"{record['title']}; mean ± sample standard deviation over n = {n} seeds, last epoch."
        )

    def notes(self, table: pd.DataFrame) -> list[str]:
        """Return which runs are missing and why, remarks, and the machines of the other runs."""
        missing = dict.fromkeys(table["note"][table["note"] != ""])
        remarks = dict.fromkeys(table["remark"][table["remark"] != ""])
        return [
            *(f"Missing: {note}." for note in missing),
            *(f"{remark}." for remark in remarks),
            *([AGAINST_PAPER] if table["difference_p"].notna().any() else []),
            *machine_notes(table),
        ]

    def paper_note(self, table: pd.DataFrame) -> str:
        """Return a text if no cell, or not every cell, is the paper's experiment."""
        if table["papers"].all():
            return ""
        if not table["papers"].any():
            return "Not the paper's experiment"
        return (
            "Some cells are not the paper's experiment, so the paper's value is not shown with them"
        )

    def run_values(self, cell: pd.Series) -> list[dict[str, Any]]:
        """Return each run with its value, or with its status; a blocked run has no record."""
        facts = (cell[name].split() for name in ("runs", "values", "status"))
        return [
            {
                "id": run,
                "status": status,
                "value": number(float(value), cell["measure"]) if status == "done" else status,
                "record": None if status == "blocked" else f"{cell['role']}s/{run}/run.json",
            }
            for run, value, status in zip(*facts, strict=True)
        ]


def _cell_values(
    table: str, cell: dict[str, Any], measures: pd.DataFrame, paper: pd.DataFrame
) -> dict[str, Any]:
    """Return one row of a table of runs."""
    runs = measures.loc[cell["runs"]]
    done = runs[runs["status"] == "done"]
    scale = 100 if cell["measure"] in PERCENT else 1
    values = pd.to_numeric(runs[cell["measure"]]) * scale
    mean = values.mean()
    best = f"best_{cell['measure']}"
    bests = pd.to_numeric(done[best]) * scale if best in done else values[:0]
    place = (table, cell["paper_row"], cell["column"])
    known = cell["papers"] and place in paper.index
    paper_mean, paper_sd = paper.loc[place, ["mean", "sd"]] if known else (math.nan, math.nan)
    ours = mean, values.std(ddof=1), len(done)
    return {
        "row": cell["row"],
        "column": cell["column"],
        "measure": cell["measure"],
        "mean": mean,
        "sd": values.std(ddof=1),
        "n": len(done),
        "n_planned": len(runs),
        "best_mean": bests.mean(),
        "best_sd": bests.std(ddof=1),
        "papers": cell["papers"],
        "paper_mean": paper_mean,
        "paper_sd": paper_sd,
        "difference": mean - paper_mean,
        **_against_paper(ours, (paper_mean, paper_sd, RUNS)),
        "note": "; ".join(dict.fromkeys(runs["note"][runs["note"] != ""])),
        "role": cell["role"],
        "runs": " ".join(cell["runs"]),
        "values": " ".join(repr(float(value)) for value in values),
        "status": " ".join(runs["status"]),
        "trained_on": trained_on(done),
        "remark": _remark(cell["measure"], done),
    }


def _against_paper(
    ours: tuple[float, float, int], papers: tuple[float, float, int]
) -> dict[str, float]:
    """Return the interval and the p value of the difference of two means, by Welch's test.

    Both are mean, sample standard deviation and number of runs. The result is NaN without a value
    of the paper, and with fewer than two runs of ours.
    """
    names = ("difference_low", "difference_high", "difference_p")
    if ours[2] < 2 or math.isnan(papers[0]):
        return dict.fromkeys(names, math.nan)
    from soteacher.statistics.welch import Summary, welch  # scipy takes longer than the table

    found = welch([Summary(*ours), Summary(*papers, coefficient=-1)])
    return dict(zip(names, (found.low, found.high, found.p), strict=True))


def _remark(measure: str, done: pd.DataFrame) -> str:
    """Return a note for a measure that says nothing about these runs, or an empty text."""
    classes = pd.to_numeric(done["classes"]).max()
    if measure != "top5" or not classes <= MOST_TRIVIAL:
        return ""
    data = done.index[0].partition("/")[0]
    return (
        f"Top-5 accuracy on {data} is 100 % for any network, because the data set has only "
        f"{int(classes)} classes"
    )
