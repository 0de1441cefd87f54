"""Reliability diagrams: how reliable the networks' confidence is.

The figure has one panel per network and method. Above is accuracy over confidence, before and after
temperature scaling, for the test images binned by the probability of the predicted class; on the
diagonal, confidence equals accuracy. Below is the share of the images in each bin. The expected
calibration errors (ECE) are means over runs; the bins contain the images of all runs together.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from soteacher.core.registry import register
from soteacher.report.drawing.finished import finished, of_runs
from soteacher.report.drawing.panels import (
    INK,
    add_legend,
    make_panels,
    n_keys,
    panel_width,
    say_none,
)
from soteacher.report.figures.base import FigureReport, Measured

# No method has one of these colours.
LINES: dict[str, dict[str, Any]] = {
    "before": {"color": "#8C8C8C", "linestyle": "--", "marker": "s", "markerfacecolor": "white"},
    "after": {"color": "#332288", "linestyle": "-", "marker": "o"},
}
SHARES: dict[str, dict[str, Any]] = {
    "before": {"color": "#C8C8C8", "fill": True},
    "after": {"color": "#332288", "linewidth": 0.9},
}
TICKS = [0, 0.25, 0.5, 0.75, 1]


@register
class ReliabilityReport(FigureReport):
    """Reliability diagrams before and after temperature scaling."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, bin, and before or after scaling; all shares are in [0, 1].

        Images are summed over runs; confidence and accuracy are means over images, NaN in an empty
        bin. `ece` is the mean over runs of the measure, the same in all bins. A panel without a
        finished run has one row before and one after scaling, without a bin.
        """
        frames = []
        for point in record["points"]:
            runs = finished(point["runs"], measured.runs)
            rows = of_runs(measured.reliability, runs, "reliability bins")
            for scaled, when in enumerate(("before", "after")):
                bins = _pool(rows[rows["scaled"] == scaled])
                if not runs:
                    bins.loc[0] = {"images": 0}
                column = "ece_scaled" if scaled else "ece"
                frames.append(
                    bins.assign(
                        panel=point["panel"],
                        scaled=when,
                        n=len(runs),
                        n_planned=len(point["runs"]),
                        runs=" ".join(runs),
                        ece=pd.to_numeric(measured.runs.loc[runs, column]).mean(),
                    )
                )
        table = pd.concat(frames, ignore_index=True).astype({"bin": "Int64", "images": int})
        bin_columns = ["bin", "low", "high", "images", "share", "confidence", "accuracy"]
        return table[["panel", "scaled", *bin_columns, "n", "n_planned", "runs", "ece"]]

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        names = list(dict.fromkeys(table["panel"]))
        width = panel_width(len(names))
        heights = {"Accuracy": 0.95 * width, "Share of\nimages": 0.25 * width}
        figure, panels = make_panels(names, "Confidence", heights, shared=set(heights))
        for name, stack in panels.items():
            points = table[table["panel"] == name]
            upper, lower = stack.values()
            upper.set(xlim=(0, 1), ylim=(0, 1), xticks=TICKS, yticks=TICKS)
            upper.xaxis.set_major_formatter("{x:g}")
            upper.yaxis.set_major_formatter("{x:g}")
            if points["n"].any():
                _draw_panel(upper, lower, points)
            else:
                say_none(stack)
        keys = [
            Line2D([], [], label=f"{when.capitalize()} temperature scaling", **line)
            for when, line in LINES.items()
        ]
        add_legend(figure, keys, n_keys(table))
        return figure


def _pool(rows: pd.DataFrame) -> pd.DataFrame:
    """Combine the bins of several runs: counts are summed, other columns weighted by counts."""
    sums = rows.assign(
        confidence=rows["confidence"] * rows["images"], accuracy=rows["accuracy"] * rows["images"]
    )
    bins = sums.groupby(["bin", "low", "high"], as_index=False)[
        ["images", "confidence", "accuracy"]
    ].sum()
    some = bins["images"].where(bins["images"] > 0)
    bins["share"] = bins["images"] / bins["images"].sum()
    bins["confidence"] /= some
    bins["accuracy"] /= some
    return bins


def _draw_panel(upper: Axes, lower: Axes, points: pd.DataFrame) -> None:
    """Draw one panel: accuracy over confidence above, shares of the images below."""
    ece = points.groupby("scaled")["ece"].first()
    ece_text = f"ECE {ece['before']:.3f} before, {ece['after']:.3f} after"
    upper.set_title(f"{upper.get_title()}\n{ece_text}")
    upper.plot([0, 1], [0, 1], color=INK, linewidth=0.6, label="diagonal")
    for when, line in LINES.items():
        bins = points[points["scaled"] == when].sort_values("bin")
        some = bins[bins["images"] > 0]
        upper.plot(some["confidence"], some["accuracy"], label=when, clip_on=False, **line)
        edges = [*bins["low"], bins["high"].iloc[-1]]
        lower.stairs(bins["share"], edges, label=when, **SHARES[when])
