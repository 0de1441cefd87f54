"""Accuracy of a teacher's checkpoints, and of the students distilled from them (Figure 1).

Each pair has two panels, with one colour per teacher method. The x axis of the first is the
teacher's epoch. Above is the final test accuracy of the student distilled from the checkpoint of
that epoch (solid, full markers); below is the teacher's accuracy at that epoch (dashed, hollow
markers). The two have separate y axes, because the teacher can gain tens of percentage points where
its students differ by one. The second panel shows the same numbers as student's over teacher's
accuracy; lines follow the epochs, and a ring marks the last one. It shows whether a more accurate
teacher gives a better student, and whether a method gives better students at the same accuracy.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.report.drawing.accuracies import LEAST_WIDTH, draw_lines, series_keys
from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.finished import finished, of_runs, summed
from soteacher.report.drawing.panels import (
    INK,
    ONE_COLUMN,
    PAPER,
    add_legend,
    n_keys,
    page_width,
    say_none,
)
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.names import display_name

LINES: dict[str, dict[str, Any]] = {
    "student": {"linestyle": "-"},
    "teacher": {"linestyle": (0, (2, 1)), "linewidth": 1.0, "markerfacecolor": PAPER},
}
LEVELS = {"student": "Student's test\naccuracy (%)", "teacher": "Teacher's test\naccuracy (%)"}
HEIGHT = 0.42
"""Height of a y axis over epochs per width of a panel."""
LAST: dict[str, Any] = {"marker": "o", "markersize": 8, "fillstyle": "none", "linestyle": "none"}
"""The ring around the last epoch."""


@register
class CheckpointsReport(FigureReport):
    """Lines over the teacher's epoch, and students' accuracy over the teachers'."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, series, role and epoch: mean, sd and interval, in percent."""
        rows = []
        for point in record["points"]:
            for role in ("teacher", "student"):
                planned = point[f"{role}s"]
                runs = finished(planned, measured.runs)
                of_measures = role == "student"
                if of_measures:
                    accuracy = pd.to_numeric(measured.runs.loc[runs, "top1"])
                else:
                    accuracy = _accuracy_at(point["epoch"], runs, measured.epochs)
                rows.append(
                    {
                        "panel": point["panel"],
                        "series": point["series"],
                        "role": role,
                        "epoch": point["epoch"],
                        **summed(accuracy, runs, planned, measured.runs if of_measures else None),
                    }
                )
        return pd.DataFrame(rows)

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        names = list(dict.fromkeys(table["panel"]))
        figure, panels = _make_panels(names)
        for name in names:
            upper, lower, paired = panels[name]
            if not table[table["panel"] == name]["n"].any():
                say_none({"": upper} | {" ": lower})
                say_none({"": paired})
                continue
            draw_lines({"student": upper, "teacher": lower}, table, name, "role", LINES, markers=40)
            _draw_paired(paired, table, name)
        ring = Line2D([], [], color=INK, label="last epoch", **LAST)
        keys: list[Artist] = [*series_keys(table), ring]
        add_legend(figure, keys if len(keys) > 1 else [], n_keys(table))
        return figure

    def describe(self, table: pd.DataFrame) -> str:
        """Return a description that names the accuracies of the last epoch."""
        drawn = table[table["n"] > 0]
        lines = drawn.groupby(["panel", "series"])  # a fine-tuned teacher has more epochs
        last = drawn[drawn["epoch"] == lines["epoch"].transform("max")]
        parts = []
        for (panel, series), rows in last.groupby(["panel", "series"], sort=False):
            roles = rows.set_index("role")["mean"]
            numbers = ", ".join(f"{role} {value:.1f} %" for role, value in roles[::-1].items())
            parts.append(f"{display_name(panel)}, {display_name(series)}: {numbers}")
        return (
            "Test accuracy of the student and of the teacher over the teacher's epoch, and the "
            "student's accuracy over the teacher's. At the last epoch: "
            f"{'; '.join(parts) or 'no finished run'}."
        )


def _make_panels(names: list[str]) -> tuple[Figure, dict[str, tuple[Axes, Axes, Axes]]]:
    """Return a figure, and for each pair the axes of students, teachers, and both.

    The third axes are beside the other two on a wide page, below them on a narrow one.
    """
    beside = page_width() >= 2 * ONE_COLUMN
    inches = HEIGHT * max(page_width() / (2 if beside else 1), LEAST_WIDTH)
    heights = [inches, inches] if beside else [inches, inches, 2 * inches]
    figure = Figure(figsize=(page_width(), sum(heights) * len(names)), layout="constrained")
    grid = figure.add_gridspec(
        len(heights) * len(names), 2 if beside else 1, height_ratios=heights * len(names)
    )
    panels = {}
    for number, name in enumerate(names):
        row = number * len(heights)
        upper = figure.add_subplot(grid[row, 0])
        lower = figure.add_subplot(grid[row + 1, 0], sharex=upper)
        paired = figure.add_subplot(grid[row : row + 2, 1] if beside else grid[row + 2, 0])
        upper.set(title=display_name(name), ylabel=LEVELS["student"])
        upper.tick_params(labelbottom=False)
        lower.set(xlabel="Teacher's epoch", ylabel=LEVELS["teacher"])
        paired.set(
            title="Student over teacher",
            xlabel="Teacher's test accuracy (%)",
            ylabel="Student's test accuracy (%)",
        )
        panels[name] = (upper, lower, paired)
    figure.align_labels()
    return figure, panels


def _draw_paired(axes: Axes, table: pd.DataFrame, panel: str) -> None:
    """Draw the student's accuracy over the teacher's, joined in the order of epochs."""
    used = styles(table["series"])
    drawn = table[(table["panel"] == panel) & (table["n"] > 0)]
    for series, rows in drawn.groupby("series", sort=False):
        students, teachers = (
            rows[rows["role"] == role].set_index("epoch").sort_index()
            for role in ("student", "teacher")
        )
        teachers = teachers.loc[students.index]
        colour, marker = used[series]
        x, y = teachers["mean"], students["mean"]
        axes.plot(x, y, color=colour, marker=marker, label=display_name(series), linewidth=0.9)
        axes.plot(x.iloc[-1:], y.iloc[-1:], color=colour, label="last epoch", **LAST)
        spans = [
            [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            for rows in (teachers, students)
        ]
        axes.errorbar(x, y, spans[1], spans[0], fmt="none", color=colour, elinewidth=0.6, alpha=0.4)


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
