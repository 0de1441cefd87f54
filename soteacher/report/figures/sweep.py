"""Accuracy over the values of one setting of a teacher method at a time (Figure 2).

The figure has one panel per setting; the other settings keep the values of the method. Above is the
final test accuracy of the students, below that of their teachers. Values have equal distances on
the x axis. A triangle marks the value that the method has in the rest of the study. Horizontal
lines show the methods to compare with. All panels of a pair have the same y axes, so that the
effects of its settings can be compared.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from soteacher.core.registry import register
from soteacher.report.drawing.accuracies import LEAST_WIDTH
from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.finished import finished, summed
from soteacher.report.drawing.panels import (
    BAND,
    PAPER,
    add_legend,
    make_panels,
    n_keys,
    panel_width,
    say_none,
)
from soteacher.report.drawing.values import are_numbers, short_value
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.names import display_name

LEVELS = {"student": "Student's test\naccuracy (%)", "teacher": "Teacher's test\naccuracy (%)"}
HEIGHT = 0.42
"""Height of a y axis per width of a panel."""
BASE_VALUE = "^"
"""Marker of the value that the method has in the rest of the study."""


@register
class SweepReport(FigureReport):
    """Accuracy over the values of a setting: students' above, teachers' below."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, series, value and role: mean, sd and interval, in percent.

        `value` is empty for a method to compare with; `own` is true for the value that the method
        has in the rest of the study.
        """
        rows = []
        for point in record["points"]:
            for role in LEVELS:
                planned = point[f"{role}s"]
                runs = finished(planned, measured.runs)
                accuracy = pd.to_numeric(measured.runs.loc[runs, "top1"])
                rows.append(
                    {
                        "panel": point["panel"],
                        "series": point["series"],
                        "value": point["value"],
                        "own": point["is_base_value"],
                        "role": role,
                        **summed(accuracy, runs, planned, measured.runs),
                    }
                )
        return pd.DataFrame(rows)

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        names = list(dict.fromkeys(table["panel"]))
        inches = HEIGHT * max(panel_width(len(names)), LEAST_WIDTH)
        heights = dict.fromkeys(LEVELS.values(), inches)
        figure, panels = make_panels(names, "", heights, set(heights), group=_pair)
        drawn = table[table["n"] > 0]
        used = styles(table["series"])
        for name in names:
            rows = drawn[drawn["panel"] == name]
            if rows.empty:
                say_none(panels[name])
                continue
            values = dict.fromkeys(table[table["panel"] == name]["value"])
            places = [value for value in values if value]
            for role, y in LEVELS.items():
                of_role = rows[rows["role"] == role].groupby("series", sort=False)
                _set_up(panels[name][y], places)
                for series, points in of_role:
                    _draw_series(panels[name][y], points, places, used[series][0])
        add_legend(figure, _keys(drawn, used), n_keys(table))
        return figure

    def describe(self, table: pd.DataFrame) -> str:
        """Return a description that names the students' best value of each setting."""
        swept = table[(table["role"] == "student") & (table["value"] != "") & (table["n"] > 0)]
        parts = []
        for (panel, series), rows in swept.groupby(["panel", "series"], sort=False):
            best = rows.loc[rows["mean"].idxmax()]
            parts.append(
                f"{display_name(panel)}, {display_name(series)}: from {rows['mean'].min():.1f} to "
                f"{best['mean']:.1f} %, best at {short_value(best['value'])}"
            )
        return (
            "Test accuracy of students and of their teachers over the values of one setting of the "
            f"teacher method. Students: {'; '.join(parts) or 'no finished run'}."
        )


def _pair(panel: str) -> str:
    """Return the pair of a panel, empty if all panels are of one pair."""
    return panel.rpartition(" ")[0]


def _set_up(axes: Axes, places: list[str]) -> None:
    """Set up the x axis, with equal distances between the values."""
    axes.set_xticks(range(len(places)), [short_value(place) for place in places])
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.grid(False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10]))


def _keys(drawn: pd.DataFrame, used: dict[str, tuple[str, str]]) -> list[Artist]:
    """Return the legend entries: two for a series with values, one for a method to compare with."""
    keys: list[Artist] = []
    for series, points in drawn.groupby("series", sort=False):
        colour, label = used[series][0], display_name(series)
        if (points["value"] == "").all():
            keys.append(Line2D([], [], linestyle="--", color=colour, label=label))
            continue
        base: dict[str, Any] = {"marker": BASE_VALUE, "linestyle": "none", "markersize": 6}
        other: dict[str, Any] = {"marker": "o", "markerfacecolor": PAPER}
        keys += [
            Line2D([], [], color=colour, label=f"{label}, value in the study", **base),
            Line2D([], [], color=colour, label="other values", **other),
        ]
    return keys


def _draw_series(axes: Axes, points: pd.DataFrame, places: list[str], colour: str) -> None:
    """Draw the values of a series, or a horizontal line for a method to compare with."""
    if (points["value"] == "").all():
        [mean], [low], [high] = points["mean"], points["low"], points["high"]
        axes.axhline(mean, color=colour, linestyle="--", zorder=1)
        if pd.notna(low):
            axes.axhspan(low, high, color=colour, alpha=BAND, linewidth=0, zorder=1)
        return
    at = points["value"].map(places.index)
    axes.errorbar(
        at,
        points["mean"],
        [points["mean"] - points["low"], points["high"] - points["mean"]],
        color=colour,
        linestyle="-" if are_numbers(places) else "none",
        marker="o",
        markerfacecolor=PAPER,
        elinewidth=0.8,
    )
    base = points["own"].to_numpy(bool)
    axes.plot(at[base], points["mean"][base], BASE_VALUE, color=colour, markersize=6, zorder=3)
