"""Accuracy over the epochs of training.

The figure has one panel per network and one colour per method. It shows the accuracy on the test
images (solid, full markers) and on the training images (thin, dashed, hollow markers), the latter
measured against the labels that the network is trained on. It shows how fast a network learns, and
how well it fits its training labels.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from soteacher.core.registry import register
from soteacher.report.drawing.accuracies import draw_accuracies
from soteacher.report.drawing.finished import finished, of_runs
from soteacher.report.drawing.panels import INK, PAPER, add_legend, n_keys
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.names import display_name

LINES: dict[str, dict[str, Any]] = {
    "test": {"linestyle": "-", "linewidth": 1.0},
    "train": {
        "linestyle": (0, (3, 1.5)),
        "linewidth": 0.6,
        "markersize": 2.6,
        "markerfacecolor": PAPER,
    },
}
KEYS = {"test": "Test images", "train": "Training images"}


@register
class CurvesReport(FigureReport):
    """Lines of training and test accuracy over epochs."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, series, split and epoch: mean and sd of accuracy, in percent.

        A series without a finished run has one row per split, without an epoch.
        """
        frames = []
        for point in record["points"]:
            runs = finished(point["runs"], measured.runs)
            by_epoch = of_runs(measured.epochs, runs, "epochs").groupby("epoch")
            for split in ("train", "test"):
                numbers = (
                    by_epoch[f"{split}_top1"].agg(mean="mean", sd="std", n="count").reset_index()
                )
                numbers = numbers[numbers["n"] > 0]  # not every epoch has a test
                if not runs:
                    numbers.loc[0] = {"n": 0}
                numbers[["mean", "sd"]] *= 100
                frames.append(
                    numbers.assign(
                        panel=point["panel"],
                        series=point["series"],
                        split=split,
                        n_planned=len(point["runs"]),
                        runs=" ".join(runs),
                    )
                )
        table = pd.concat(frames, ignore_index=True).astype({"epoch": "Int64", "n": int})
        return table[["panel", "series", "split", "epoch", "mean", "sd", "n", "n_planned", "runs"]]

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        figure, keys = draw_accuracies(
            table, "split", LINES, "Epoch", "Accuracy (%)", 0.65, markers=16
        )
        splits = [
            Line2D([], [], label=KEYS[split], **{"color": INK, "marker": "o"} | line)
            for split, line in LINES.items()
        ]
        add_legend(figure, keys, splits + n_keys(table))
        return figure

    def describe(self, table: pd.DataFrame) -> str:
        """Return a description that names the test accuracies of the last epoch."""
        drawn = table[(table["n"] > 0) & (table["split"] == "test")]
        last = drawn.loc[drawn.groupby(["panel", "series"], sort=False)["epoch"].idxmax()]
        parts = [
            f"{display_name(row['panel'])}, {display_name(row['series'])} {row['mean']:.1f} %"
            for _, row in last.iterrows()
        ]
        return (
            "Accuracy on test and training images over the epochs of training. On test images "
            f"after the last epoch: {'; '.join(parts) or 'no finished run'}."
        )
