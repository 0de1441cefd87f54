"""Accuracy over the values of one setting of a teacher method at a time (Figure 2).

A panel a setting, the others as the method has them. Above, the final test accuracy of the
students; below, of their teachers. Values stand side by side, whatever their distance; a triangle
marks the one that the method has elsewhere. Methods to compare with are lines across.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from soteacher.core.registry import register
from soteacher.report.drawing.accuracies import LEAST_WIDTH, alike
from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.finished import finished, summed
from soteacher.report.drawing.panels import (
    BAND,
    add_legend,
    make_panels,
    n_keys,
    panel_width,
    say_none,
)
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.names import display_name

LEVELS = {"student": "Student's test\naccuracy (%)", "teacher": "Teacher's test\naccuracy (%)"}
HEIGHT = 0.42
"""Of the y axes, for the width of a panel."""
BASE_VALUE = "^"
"""The marker of the value that the method has elsewhere."""


@register
class SweepReport(FigureReport):
    """Values of a setting side by side: students' accuracy above, teachers' below."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return a row per panel, series, value and role: mean and sd of accuracy, in percent.

        `value` is empty for a method that is only compared with; `own` says whether it is the value
        that the method has.
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
                        **summed(accuracy, runs, planned),
                    }
                )
        return pd.DataFrame(rows)

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        names = list(dict.fromkeys(table["panel"]))
        shared = {y for role, y in LEVELS.items() if alike(table[table["role"] == role])}
        inches = HEIGHT * max(panel_width(len(names)), LEAST_WIDTH)
        figure, panels = make_panels(names, "", dict.fromkeys(LEVELS.values(), inches), shared)
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


def _set_up(axes: Axes, places: list[str]) -> None:
    """Put the values on the x axis side by side."""
    axes.set_xticks(range(len(places)), [_short(place) for place in places])
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.grid(False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10]))


def _keys(drawn: pd.DataFrame, used: dict[str, tuple[str, str]]) -> list[Artist]:
    """The entries of the legend: two for a series with values, one if it is only compared with."""
    keys: list[Artist] = []
    for series, points in drawn.groupby("series", sort=False):
        colour, label = used[series][0], display_name(series)
        if (points["value"] == "").all():
            keys.append(Line2D([], [], linestyle="--", color=colour, label=label))
            continue
        base: dict[str, Any] = {"marker": BASE_VALUE, "linestyle": "none", "markersize": 6}
        other: dict[str, Any] = {"marker": "o", "markerfacecolor": "white"}
        keys += [
            Line2D([], [], color=colour, label=f"{label}, its own value", **base),
            Line2D([], [], color=colour, label="another value", **other),
        ]
    return keys


def _draw_series(axes: Axes, points: pd.DataFrame, places: list[str], colour: str) -> None:
    """The swept values of a series, or a line across if it is only compared with."""
    if (points["value"] == "").all():
        [mean], [sd] = points["mean"], points["sd"]
        axes.axhline(mean, color=colour, linestyle="--", zorder=1)
        if pd.notna(sd):
            axes.axhspan(mean - sd, mean + sd, color=colour, alpha=BAND, linewidth=0, zorder=1)
        return
    at = points["value"].map(places.index)
    sd = points["sd"].fillna(0)
    axes.errorbar(
        at,
        points["mean"],
        sd if (sd > 0).any() else None,
        color=colour,
        linestyle="-" if _numbers(places) else "none",
        marker="o",
        markerfacecolor="white",
        elinewidth=0.8,
    )
    base = points["own"].to_numpy(bool)
    axes.plot(at[base], points["mean"][base], BASE_VALUE, color=colour, markersize=6, zorder=3)


def _short(value: str) -> str:
    """A small number with as few characters as may stand below an axis: 1e-4."""
    if not _numbers([value]) or not 0 < abs(float(value)) < 0.01:
        return value
    return np.format_float_scientific(float(value), trim="-", exp_digits=1)


def _numbers(places: list[str]) -> bool:
    """Whether values have an order, so that a line between them means something."""
    return bool(pd.to_numeric(pd.Series(places), errors="coerce").notna().all())
