"""Accuracy of a teacher's checkpoints, and of the students distilled from them (Figure 1).

A panel a pair, a colour a teacher method. Over the teacher's epoch: above, the final test accuracy
of the student distilled from the checkpoint of that epoch (solid, full markers); below, the
teacher's own at that epoch (dashed, hollow markers). It shows whether a better teacher makes a
better student. The two have axes of their own: the teacher gains tens of percents where its
students differ by one.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from soteacher.core.errors import UserError
from soteacher.report.figures.accuracies import draw_accuracies
from soteacher.report.figures.drawing import add_legend, n_keys
from soteacher.report.figures.finished import finished, of_runs, summed

LINES: dict[str, dict[str, Any]] = {
    "student": {"linestyle": "-"},
    "teacher": {"linestyle": (0, (2, 1)), "linewidth": 1.0, "markerfacecolor": "white"},
}
LEVELS = {
    "Student's test\naccuracy (%)": ["student"],
    "Teacher's test\naccuracy (%)": ["teacher"],
}


def values(
    parts: list[dict[str, Any]],
    measures: pd.DataFrame,
    epochs: pd.DataFrame,
    reliability: pd.DataFrame,
) -> pd.DataFrame:
    """A row a panel, series, role and epoch: mean and sample sd of accuracy, in percent."""
    rows = []
    for part in parts:
        for role in ("teacher", "student"):
            planned = part[f"{role}s"]
            runs = finished(planned, measures)
            if role == "student":
                accuracy = pd.to_numeric(measures.loc[runs, "top1"])
            else:
                accuracy = _accuracy_at(part["epoch"], runs, epochs)
            rows.append(
                {
                    "panel": part["panel"],
                    "series": part["series"],
                    "role": role,
                    "epoch": part["epoch"],
                    **summed(accuracy, runs, planned),
                }
            )
    return pd.DataFrame(rows)


def _accuracy_at(epoch: int, runs: list[str], epochs: pd.DataFrame) -> pd.Series:
    rows = of_runs(epochs, runs, "epochs")
    found = rows[rows["epoch"] == epoch].set_index("run")["test_top1"]
    for run in runs:
        if run not in found.index:
            raise UserError(
                f"'{run}' has no epoch {epoch}, of which the figure wants a checkpoint; "
                f"its last is {rows.loc[rows['run'] == run, 'epoch'].max()}"
            )
    return found


def draw(table: pd.DataFrame) -> Figure:
    """Draw what `values` made."""
    figure, keys = draw_accuracies(
        table, "role", LINES, "Teacher's epoch", LEVELS, 0.42, markers=40
    )
    add_legend(figure, keys, n_keys(table))
    return figure
