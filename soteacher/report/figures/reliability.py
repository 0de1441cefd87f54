"""Reliability diagrams: how reliable the networks' confidence is.

The figure has one panel per network and method. Above is accuracy over confidence, before and after
temperature scaling, for the test images binned by the probability of the predicted class; on the
diagonal, confidence equals accuracy. The area of a marker grows with the number of images in its
bin; bins with few images are faint. Vertical lines are 95 % intervals of the accuracy (Wilson).
Below is the share of the images in each bin. The expected calibration errors (ECE) are means over
runs; the bins contain the images of all runs together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from soteacher.core.registry import register
from soteacher.report.drawing.finished import COVERAGE, finished, of_runs
from soteacher.report.drawing.panels import (
    INK,
    PAPER,
    add_legend,
    make_panels,
    n_keys,
    panel_width,
    say_none,
)
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.names import display_name

# No method has one of these colours.
GREY, VIOLET = "#8C8C8C", "#7B5FD0"
LINES: dict[str, dict[str, Any]] = {
    "before": {"color": GREY, "linestyle": "--", "marker": "s", "markerfacecolor": PAPER},
    "after": {"color": VIOLET, "linestyle": "-", "marker": "o"},
}
SHARES: dict[str, dict[str, Any]] = {
    "before": {"color": GREY, "alpha": 0.5, "fill": True},
    "after": {"color": VIOLET, "linewidth": 0.9},
}
FEW = 10
"""A bin with fewer images is faint: its interval is wider than half of the y axis."""
FAINT = 0.3
"""Opacity of such bins."""
AREAS = (5.0, 50.0)
"""Area of the marker of an empty and of the fullest bin, in square points."""
TICKS = [0, 0.25, 0.5, 0.75, 1]


@register
class ReliabilityReport(FigureReport):
    """Reliability diagrams before and after temperature scaling."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, bin, and before or after scaling; all shares are in [0, 1].

        Images are summed over runs; confidence and accuracy are means over images, NaN in an empty
        bin. `accuracy_low` and `accuracy_high` are the 95 % interval of the accuracy, as if one
        run had measured it: on the mean number of images per run, because the runs share the test
        images. `ece` is the mean over runs of the measure, the same in all bins. A panel without a
        finished run has one row before and one after scaling, without a bin.
        """
        frames = []
        for point in record["points"]:
            runs = finished(point["runs"], measured.runs)
            rows = of_runs(measured.reliability, runs, "reliability bins")
            for scaled, when in enumerate(("before", "after")):
                bins = _pool(rows[rows["scaled"] == scaled], len(runs))
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
        bins = ["bin", "low", "high", "images", "share", "confidence", "accuracy"]
        ends = ["accuracy_low", "accuracy_high"]
        return table[["panel", "scaled", *bins, *ends, "n", "n_planned", "runs", "ece"]]

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
        faint = Line2D(
            [], [], color=INK, marker="o", alpha=FAINT, label=f"under {FEW} images in a run"
        )
        add_legend(figure, keys, [faint, *n_keys(table[["n", "n_planned"]])])
        return figure

    def describe(self, table: pd.DataFrame) -> str:
        """Return a description that names the calibration errors."""
        parts = []
        for panel, rows in table[table["n"] > 0].groupby("panel", sort=False):
            ece = rows.groupby("scaled")["ece"].first()
            parts.append(f"{display_name(panel)} {ece['before']:.3f} and {ece['after']:.3f}")
        return (
            "Accuracy over confidence of test images in bins of confidence, and the share of the "
            "images in each bin. Expected calibration error before and after temperature scaling: "
            f"{'; '.join(parts) or 'no finished run'}."
        )


def _pool(rows: pd.DataFrame, n_runs: int) -> pd.DataFrame:
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
    ends = [
        _interval(accuracy, images / n_runs)
        for accuracy, images in zip(bins["accuracy"], bins["images"], strict=True)
    ]
    bins[["accuracy_low", "accuracy_high"]] = np.array(ends, dtype=float).reshape(-1, 2)
    return bins


def _interval(accuracy: float, images: float) -> tuple[float, float]:
    """Return Wilson's interval, with both counts rounded; NaN where no image is left."""
    trials = round(images)
    if trials == 0:
        return np.nan, np.nan
    successes = round(accuracy * trials)
    interval = stats.binomtest(successes, trials).proportion_ci(COVERAGE, method="wilson")
    return float(interval.low), float(interval.high)


def _draw_panel(upper: Axes, lower: Axes, points: pd.DataFrame) -> None:
    """Draw one panel: accuracy over confidence above, shares of the images below."""
    ece = points.groupby("scaled")["ece"].first()
    ece_text = f"ECE {ece['before']:.3f} before, {ece['after']:.3f} after"
    upper.set_title(f"{upper.get_title()}\n{ece_text}")
    upper.plot([0, 1], [0, 1], color=INK, linewidth=0.6, label="diagonal")
    for when, line in LINES.items():
        bins = points[points["scaled"] == when].sort_values("bin")
        some = bins[bins["images"] > 0]
        _draw_bins(upper, some, when, **line)
        edges = [*bins["low"], bins["high"].iloc[-1]]
        lower.stairs(bins["share"], edges, label=when, **SHARES[when])


def _draw_bins(
    axes: Axes, bins: pd.DataFrame, label: str, color: str, marker: str, **line: Any
) -> None:
    """Draw the bins that have images: a line, and on it markers and intervals."""
    face = line.pop("markerfacecolor", color)
    axes.plot(bins["confidence"], bins["accuracy"], color=color, label=label, linewidth=0.8, **line)
    smallest, largest = AREAS
    areas = smallest + (largest - smallest) * bins["share"] / bins["share"].max()
    few = bins["images"] < FEW * bins["n"]
    for alpha, chosen in ((FAINT, few), (1.0, ~few)):
        some = bins[chosen]
        x = some["confidence"]
        ends = (some["accuracy_low"], some["accuracy_high"])
        axes.vlines(x, *ends, color=color, alpha=0.6 * alpha, linewidth=0.8, label=label)
        axes.scatter(
            x,
            some["accuracy"],
            areas[chosen],
            marker=marker,
            facecolors=face,
            edgecolors=color,
            alpha=alpha,
            linewidths=0.8,
            zorder=3,
            clip_on=False,
            label=label,
        )
