"""The reports of the kinds of figures, one registered file per kind of `study.kinds.figures`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from soteacher.core import files, registry
from soteacher.core.errors import UserError, unknown
from soteacher.report.drawing.panels import TWO_COLUMNS, house_style
from soteacher.report.drawing.svg import WIDTHS, compose
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.machines import trained_on

# No dates and no versions, so that equal numbers give identical files.
METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def figure_report(kind: str) -> FigureReport:
    """Return the report of a kind of figure; `UserError` if there is none."""
    known = registry.names("report of a figure")
    if kind not in known:
        raise UserError(
            f"{unknown('kind of figure', kind, known)}; soteacher/report/figures/ has none"
        )
    report: FigureReport = registry.get("report of a figure", kind)()
    return report


def make_figure(record: dict[str, Any], measured: Measured) -> tuple[Figure, pd.DataFrame]:
    """Return a figure and the numbers in it.

    record : the return value of `study.summary.block_record`. Its `title` is the caption, which is
    not part of the drawing.

    Only finished runs are drawn. If some runs are missing, `n` is less than `n_planned`; if there
    are none, the table has a row with n = 0. `runs` lists the n runs behind a number, and
    `trained_on` the machines that trained them.
    """
    report = figure_report(record["kind"])
    table = report.values(record, measured)
    machines = {runs: trained_on(measured.runs.loc[runs.split()]) for runs in set(table["runs"])}
    table["trained_on"] = table["runs"].map(machines)
    return _drawn(report, table, TWO_COLUMNS), table


def make_svg(record: dict[str, Any], table: pd.DataFrame) -> str:
    """Return the SVG file of a figure: both layouts, with a description.

    record, table : what `make_figure` was given and returned.
    """
    report = figure_report(record["kind"])
    drawings = {layout: _drawn(report, table, width) for layout, width in WIDTHS.items()}
    with house_style():
        return compose(record["name"], record["title"], report.describe(table), drawings)


def _drawn(report: FigureReport, table: pd.DataFrame, width: float) -> Figure:
    """Return a drawing for a page of this width, in inches, with its final layout."""
    with house_style(width):
        figure = report.draw(table)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # another layout would move it, if only by rounding
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG (200 dots per inch) or PDF, by the path's suffix."""
    suffix = Path(path).suffix.removeprefix(".")
    if suffix not in METADATA:  # `make_svg` returns the SVG, with another drawing for phones
        raise UserError(unknown("format of a figure", suffix, METADATA))
    with house_style():
        files.write(
            path, lambda file: figure.savefig(file, format=suffix, metadata=METADATA[suffix])
        )
