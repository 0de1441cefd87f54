"""Lines of accuracy over epochs, for the figures `checkpoints` and `curves`."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
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
    levels: dict[str, list[str]],
    height: float,
    markers: int,
) -> tuple[Figure, list[Line2D]]:
    """Draw lines through means, in bands of ± sd where n > 1; return figure and legend entries.

    table : `panel`, `series`, `epoch`, `mean`, `sd` (percent), `n`, and the column `by`, which
    distinguishes the lines of a series.
    lines : value of `by` to the style of its line.
    x : label of the x axes.   levels : label of a y axis to the values of `by` that it shows.
    height : height of a y axis per width of a panel.   markers : maximum number on a line.
    """
    names = list(dict.fromkeys(table["panel"]))
    shared = {y for y, kinds in levels.items() if alike(table[table[by].isin(kinds)])}
    inches = height * max(panel_width(len(names)), LEAST_WIDTH)
    figure, panels = make_panels(names, x, dict.fromkeys(levels, inches), shared)
    used = styles(table["series"])
    drawn = table[table["n"] > 0]
    for (panel, series, kind), points in drawn.groupby(["panel", "series", by], sort=False):
        axes = next(panels[panel][y] for y, kinds in levels.items() if kind in kinds)
        colour, marker = used[series]
        named: dict[str, Any] = {"color": colour, "label": f"{display_name(series)} {kind}"}
        points = points.sort_values("epoch")
        epochs, mean, sd = (points[name].to_numpy(float) for name in ("epoch", "mean", "sd"))
        every = math.ceil(len(epochs) / markers)
        start = (
            every * list(used).index(series) // len(used)
        )  # the markers of the series do not coincide
        marked: dict[str, Any] = {"marker": marker, "markevery": (start, every)}
        axes.plot(epochs, mean, **named, **marked, **lines[kind])
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10], integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10]))
        if (points["n"] > 1).any():
            axes.fill_between(epochs, mean - sd, mean + sd, alpha=BAND, linewidth=0, **named)
    for name in names:
        if name not in set(drawn["panel"]):
            say_none(panels[name])
    keys = [
        Line2D([], [], color=used[series][0], marker=used[series][1], label=display_name(series))
        for series in drawn["series"].unique()
    ]
    return figure, keys


def alike(table: pd.DataFrame) -> bool:
    """Return whether every panel uses at least half of its height on a shared y axis."""
    sd = table["sd"].fillna(0)
    lows = (table["mean"] - sd).groupby(table["panel"]).min()
    highs = (table["mean"] + sd).groupby(table["panel"]).max()
    return bool(highs.max() - lows.min() <= 2 * (highs - lows).min())
