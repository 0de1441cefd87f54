"""Lines of accuracy over epochs, for the figures `checkpoints` and `curves`."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.panels import BAND, make_panels, panel_width, say_none
from soteacher.report.names import display_name

LEAST_WIDTH = 2.9
"""The height of a panel is computed for at least this width, in inches."""


def draw_accuracies(
    table: pd.DataFrame,
    by: str,
    lines: dict[str, dict[str, Any]],
    x: str,
    y: str,
    height: float,
    markers: int,
) -> tuple[Figure, list[Line2D]]:
    """Draw a panel of lines for each `panel` of the table; return figure and legend entries.

    table, by, lines, markers : see `draw_lines`.   x, y : labels of the axes.
    height : height of a y axis per width of a panel.
    """
    names = list(dict.fromkeys(table["panel"]))
    inches = height * max(panel_width(len(names)), LEAST_WIDTH)
    figure, panels = make_panels(names, x, {y: inches}, {y} if _alike(table) else set())
    for name in names:
        drawn = table[(table["panel"] == name) & (table["n"] > 0)]
        if drawn.empty:
            say_none(panels[name])
        else:
            draw_lines(dict.fromkeys(lines, panels[name][y]), table, name, by, lines, markers)
    return figure, series_keys(table)


def draw_lines(
    axes_of: dict[str, Axes],
    table: pd.DataFrame,
    panel: str,
    by: str,
    lines: dict[str, dict[str, Any]],
    markers: int,
) -> None:
    """Draw one panel's lines through means, in bands where there are several runs.

    axes_of : value of `by` to the axes that show it.
    table : `panel`, `series`, `epoch`, `mean` (percent), `n`, and the column `by`, which
    distinguishes the lines of a series. The bands are `low` to `high`, or ± `sd` if the table has
    no intervals.
    lines : value of `by` to the style of its line.   markers : maximum number on a line.
    """
    used = styles(table["series"])
    drawn = table[(table["panel"] == panel) & (table["n"] > 0)]
    for (series, kind), points in drawn.groupby(["series", by], sort=False):
        axes = axes_of[kind]
        colour, marker = used[series]
        named: dict[str, Any] = {"color": colour, "label": f"{display_name(series)} {kind}"}
        points = points.sort_values("epoch")
        epochs, mean, sd = (points[name].to_numpy(float) for name in ("epoch", "mean", "sd"))
        low, high = (points["low"], points["high"]) if "low" in table else (mean - sd, mean + sd)
        every = math.ceil(len(epochs) / markers)
        start = (
            every * list(used).index(series) // len(used)
        )  # the markers of the series do not coincide
        marked: dict[str, Any] = {"marker": marker, "markevery": (start, every)}
        axes.plot(epochs, mean, **named, **marked, **lines[kind])
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10], integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10]))
        if pd.notna(low).any():
            axes.fill_between(epochs, low, high, alpha=BAND, linewidth=0, **named)


def series_keys(table: pd.DataFrame) -> list[Line2D]:
    """Return one legend entry per series with a finished run."""
    used = styles(table["series"])
    return [
        Line2D([], [], color=used[series][0], marker=used[series][1], label=display_name(series))
        for series in table[table["n"] > 0]["series"].unique()
    ]


def _alike(table: pd.DataFrame) -> bool:
    """Return whether every panel uses at least half of its height on a shared y axis."""
    sd = table["sd"].fillna(0)
    lows = (table["mean"] - sd).groupby(table["panel"]).min()
    highs = (table["mean"] + sd).groupby(table["panel"]).max()
    return bool(highs.max() - lows.min() <= 2 * (highs - lows).min())
