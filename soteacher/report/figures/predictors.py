"""Accuracy of students over measures of their teachers: what predicts a good student?

The figure has one panel per measure of the teacher, and per pair and distiller if there are
several. Each point is one student and its teacher; colours are the teacher methods. The title of a
panel is the rank correlation within seeds, with its permutation test.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from soteacher.core.registry import register
from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.finished import finished
from soteacher.report.drawing.panels import (
    add_legend,
    make_panels,
    panel_width,
    say_none,
)
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.names import display_name
from soteacher.statistics.rank_correlation import RankCorrelation, rank_correlation

PREDICTORS = {
    "train_distance": "Teacher's ℓ2 distance to p*\n(training images)",
    "train_spread": "Teacher's spread among siblings\n(training images)",
    "top1": "Teacher's test accuracy (%)",
    "ece": "Teacher's ECE",
    "nll": "Teacher's NLL (nats)",
}
"""Measure of a teacher to the label of its axis."""
KNOWN_TRUTH = ("train_distance", "train_spread")
"""Measures that only data with known true label distributions have."""
STUDENT = "Student's test\naccuracy (%)"
HEIGHT = 0.75
"""Height of a y axis per width of a panel."""


@register
class PredictorsReport(FigureReport):
    """Scatter of the students' accuracy over measures of their teachers."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, predictor, series and seed.

        `teacher_value` is the measure named by `predictor` (accuracy in percent),
        `student_accuracy` in percent. `n` is 1 if both runs are finished, else 0. The correlation
        of a panel and predictor is in all of its rows: `rank_correlation`, the p-value `p`, and
        `permutations`, their number, which is that of all permutations if `exact`. The measures
        that need known true label distributions are left out where no teacher has them.
        """
        rows = []
        for point in record["points"]:
            runs = zip(point["seeds"], point["teachers"], point["students"], strict=True)
            for seed, teacher, student in runs:
                both = len(finished([teacher, student], measured.runs)) == 2
                accuracy = _value(measured.runs, student, "top1", both)
                for predictor in PREDICTORS:
                    rows.append(
                        {
                            "panel": point["panel"],
                            "predictor": predictor,
                            "series": point["series"],
                            "seed": seed,
                            "teacher_value": _value(measured.runs, teacher, predictor, both),
                            "student_accuracy": accuracy,
                            "n": int(both),
                            "n_planned": 1,
                            "runs": f"{teacher} {student}" if both else "",
                        }
                    )
        table = pd.DataFrame(rows)
        parts = [
            _with_correlation(part)
            for (_, predictor), part in table.groupby(["panel", "predictor"], sort=False)
            if predictor not in KNOWN_TRUTH or part["teacher_value"].notna().any()
        ]
        return pd.concat(parts, ignore_index=True)

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        several = table["panel"].nunique() > 1
        parts = {
            f"{panel} {predictor}": (panel, predictor, rows)
            for (panel, predictor), rows in table.groupby(["panel", "predictor"], sort=False)
        }
        height = HEIGHT * panel_width(len(parts))
        figure, panels = make_panels(
            list(parts), "", {STUDENT: height}, {STUDENT}, lambda name: name.rpartition(" ")[0]
        )
        used = styles(table["series"])
        for name, (panel, predictor, rows) in parts.items():
            axes = panels[name][STUDENT]
            drawn = rows[rows["n"] > 0].dropna(subset=["teacher_value"])
            correlation = _correlation_text(rows.iloc[0])
            axes.set_title(f"{display_name(panel)}\n{correlation}" if several else correlation)
            if drawn.empty:
                say_none(panels[name])
                continue
            for series, points in drawn.groupby("series", sort=False):
                colour, marker = used[series]
                axes.plot(
                    points["teacher_value"],
                    points["student_accuracy"],
                    color=colour,
                    marker=marker,
                    linestyle="none",
                    alpha=0.8,
                    label=display_name(series),
                )
            axes.set_xlabel(PREDICTORS[predictor])
            axes.tick_params(labelbottom=True)
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
            axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 4, 5, 10]))
        add_legend(figure, _keys(table, used))
        return figure

    def describe(self, table: pd.DataFrame) -> str:
        """Return a description that names the rank correlations."""
        several = table["panel"].nunique() > 1
        parts = []
        for (panel, predictor), rows in table.groupby(["panel", "predictor"], sort=False):
            label = PREDICTORS[predictor].replace("\n", " ")
            where = f"{display_name(panel)}, " if several else ""
            parts.append(f"{where}{label}: {_correlation_text(rows.iloc[0])}")
        n = len(table.drop_duplicates(["panel", "series", "seed"]).query("n > 0"))
        return (
            f"Test accuracy of {n} students over measures of their teachers. Rank correlation "
            f"within seeds: {'; '.join(parts)}."
        )


def _value(runs: pd.DataFrame, run: str, measure: str, is_finished: bool) -> float:
    """Return a measure of a run, or NaN if it has none; accuracy is in percent."""
    if not is_finished or measure not in runs:
        return math.nan
    value = float(pd.to_numeric(runs.loc[[run], measure], errors="coerce").iloc[0])
    return 100 * value if measure == "top1" else value


def _with_correlation(part: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one panel and predictor with the columns of their correlation."""
    known = part.dropna(subset=["teacher_value", "student_accuracy"])
    found: RankCorrelation = rank_correlation(
        known["teacher_value"], known["student_accuracy"], list(known["seed"])
    )
    return part.assign(
        rank_correlation=found.rho,
        p=found.p,
        permutations=found.permutations,
        exact=found.exact,
    )


def _correlation_text(row: pd.Series) -> str:
    if pd.isna(row["rank_correlation"]):
        return "no rank correlation"
    p = f"p = {row['p']:.2g}" if row["p"] >= 0.001 else "p < 0.001"
    return f"ρ = {row['rank_correlation']:.2f}, {p}".replace("-", "−")


def _keys(table: pd.DataFrame, used: dict[str, tuple[str, str]]) -> list[Line2D]:
    """Return one legend entry per series with a point."""
    keys = []
    for series in table[table["n"] > 0]["series"].unique():
        colour, marker = used[series]
        shown: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none"}
        keys.append(Line2D([], [], label=display_name(series), **shown))
    return keys
