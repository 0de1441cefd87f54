"""Measures against p* by tenths of the labellers' disagreement about the training images.

The figure has one panel for each teacher network, and one for the students of each pair and
distiller. The x axis is the tenth of the training images, from most agreement to least, marked with
the mean largest probability of p*. From above, the levels are the distance from p*, the excess NLL
and the spread among like images, with one line for each teacher method: the mean over seeds, in a
band that is its 95 % interval. The scale of the excess NLL is logarithmic if its values differ by a
large factor.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.report.drawing.accuracies import series_keys
from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.finished import finished, mean_interval
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

LEVELS = {
    "distance": "ℓ2 distance\nfrom p*",
    "excess_nll": "Excess NLL\n(nats)",
    "spread": "Spread among\nlike images",
}
"""Measure to the label of its y axis."""
X = "Largest probability of p*\n(mean of each tenth)"
HEIGHT = 0.55
"""Height of a y axis per width of a panel."""
LARGE = 30
"""The scale of the excess NLL is logarithmic if its values span more than this factor."""
LEAST = 1e-4
"""Excess NLL, in nats, below which a logarithmic scale does not reach: that of p* is 0."""


@register
class DisagreementReport(FigureReport):
    """Lines of distance, excess NLL and spread over tenths of disagreement."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, series, measure and tenth: mean, sd and 95 % interval.

        `certainty` is the mean largest probability of p* in the tenth. A series without a finished
        run has one row per measure, without a tenth.
        """
        rows = []
        for point in record["points"]:
            runs = finished(point["runs"], measured.runs)
            of_point = measured.disagreement[measured.disagreement["run"].isin(runs)]
            _check_tenths(runs, of_point)
            facts = {
                "n": len(runs),
                "n_planned": len(point["runs"]),
                "runs": " ".join(runs),
            }
            for measure in LEVELS:
                place = {"panel": point["panel"], "series": point["series"], "measure": measure}
                for tenth, same in of_point.groupby("tenth"):
                    certainty = same["certainty"].astype(float).mean()
                    found = mean_interval(same[measure].astype(float))
                    rows.append(place | {"tenth": tenth, "certainty": certainty} | found | facts)
                if not runs:
                    rows.append(place | facts)
        columns = ["panel", "series", "measure", "tenth", "certainty"]
        columns += ["mean", "sd", "low", "high", "n", "n_planned", "runs"]
        return pd.DataFrame(rows, columns=columns).astype({"tenth": "Int64"})

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        names = list(dict.fromkeys(table["panel"]))
        height = HEIGHT * panel_width(len(names))
        heights = dict.fromkeys(LEVELS.values(), height)
        figure, panels = make_panels(names, X, heights, shared=set(heights))
        used = styles(table["series"])
        for name, stack in panels.items():
            drawn = table[(table["panel"] == name) & (table["n"] > 0)]
            if drawn.empty:
                say_none(stack)
                continue
            marks = drawn.groupby("tenth")["certainty"].mean()
            for measure, axes in zip(LEVELS, stack.values(), strict=True):
                of_measure = drawn[drawn["measure"] == measure]
                for series, points in of_measure.groupby("series", sort=False):
                    _draw_line(axes, points, display_name(series), *used[series])
                axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
                axes.set_xticks(marks.index.to_numpy(int), [f"{mark:.2f}" for mark in marks])
            axes.tick_params(axis="x", labelrotation=90)
        _scale(table, [stack[LEVELS["excess_nll"]] for stack in panels.values()])
        add_legend(figure, series_keys(table), n_keys(table))
        return figure

    def describe(self, table: pd.DataFrame) -> str:
        """Return a description that names the distances in the first and the last tenth."""
        parts = []
        drawn = table[(table["n"] > 0) & (table["measure"] == "distance")]
        for (panel, series), rows in drawn.groupby(["panel", "series"], sort=False):
            means = rows.sort_values("tenth")["mean"]
            who = f"{display_name(panel)}, {display_name(series)}"
            parts.append(f"{who} {means.iloc[0]:.3f} and {means.iloc[-1]:.3f}")
        return (
            "Distance from p*, excess NLL and spread among like images, over tenths of the "
            "training images from most agreement of the labellers to least. Distance in the first "
            f"and in the last tenth: {'; '.join(parts) or 'no finished run'}."
        )


def _check_tenths(runs: list[str], rows: pd.DataFrame) -> None:
    """Raise `UserError` if a finished run has no tenths: counts may be the same for all images."""
    for run in runs:
        if run not in set(rows["run"]):
            raise UserError(
                f"'{run}' has no tenths of disagreement: the labellers of its training images "
                "agree equally on all of them, or there are fewer than ten; leave out the figure"
            )


def _draw_line(axes: Axes, points: pd.DataFrame, label: str, colour: str, marker: str) -> None:
    """Draw the line of one series through its means, in a band of the intervals."""
    points = points.sort_values("tenth")
    tenths, mean, low, high = (
        points[name].to_numpy(float) for name in ("tenth", "mean", "low", "high")
    )
    axes.plot(tenths, mean, color=colour, marker=marker, label=label)
    axes.fill_between(tenths, low, high, color=colour, alpha=BAND, linewidth=0, label=label)


def _scale(table: pd.DataFrame, panels: list[Axes]) -> None:
    """Make the shared axis of the excess NLL logarithmic if its values span a large factor."""
    means = table.loc[(table["measure"] == "excess_nll") & (table["mean"] > LEAST), "mean"]
    if not means.empty and means.max() > LARGE * means.min():
        for axes in panels:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
        panels[0].set_ylim(bottom=means.min() / 2)
