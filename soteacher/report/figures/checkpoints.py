"""Accuracy of a teacher's checkpoints, and of the students distilled from them (Figure 1).

The figure has one panel per pair and one colour per teacher method. The x axis is the teacher's
epoch. Above is the final test accuracy of the student distilled from the checkpoint of that epoch
(solid, full markers); below is the teacher's accuracy at that epoch (dashed, hollow markers). The
figure shows whether a better teacher gives a better student. The two have separate y axes, because
the teacher gains tens of percentage points where its students differ by one.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.report.drawing.accuracies import draw_accuracies
from soteacher.report.drawing.finished import finished, of_runs, summed
from soteacher.report.drawing.panels import add_legend, n_keys
from soteacher.report.figures.base import FigureReport, Measured

LINES: dict[str, dict[str, Any]] = {
    "student": {"linestyle": "-"},
    "teacher": {"linestyle": (0, (2, 1)), "linewidth": 1.0, "markerfacecolor": "white"},
}
LEVELS = {
    "Student's test\naccuracy (%)": ["student"],
    "Teacher's test\naccuracy (%)": ["teacher"],
}


@register
class CheckpointsReport(FigureReport):
    """Lines over the teacher's epoch: students' accuracy above, the teachers' below."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, series, role and epoch: mean and sd of accuracy, in percent."""
        rows = []
        for point in record["points"]:
            for role in ("teacher", "student"):
                planned = point[f"{role}s"]
                runs = finished(planned, measured.runs)
                if role == "student":
                    accuracy = pd.to_numeric(measured.runs.loc[runs, "top1"])
                else:
                    accuracy = _accuracy_at(point["epoch"], runs, measured.epochs)
                rows.append(
                    {
                        "panel": point["panel"],
                        "series": point["series"],
                        "role": role,
                        "epoch": point["epoch"],
                        **summed(accuracy, runs, planned),
                    }
                )
        return pd.DataFrame(rows)

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        figure, keys = draw_accuracies(
            table, "role", LINES, "Teacher's epoch", LEVELS, 0.42, markers=40
        )
        add_legend(figure, keys, n_keys(table))
        return figure


def _accuracy_at(epoch: int, runs: list[str], epochs: pd.DataFrame) -> pd.Series:
    rows = of_runs(epochs, runs, "epochs")
    accuracy = rows[rows["epoch"] == epoch].set_index("run")["test_top1"]
    for run in runs:
        if run not in accuracy.index:
            raise UserError(
                f"'{run}' has no epoch {epoch}, but the figure needs its accuracy there; "
                f"its last epoch is {rows.loc[rows['run'] == run, 'epoch'].max()}"
            )
    return accuracy
