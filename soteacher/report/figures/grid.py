"""Accuracy over all combinations of the values of two settings of a teacher method.

The figure has one panel per pair: above is a map of the final test accuracy of the students, below
one of that of their teachers. The values of the first setting are across, those of the second
upwards, at equal distances. Each cell has its mean in percent. A frame marks the largest mean of a
map, which is written above the map with its interval; a triangle marks the values that the method
has in the rest of the study. Lines in the scale of the colours show the methods to compare with.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from soteacher.core.registry import register
from soteacher.report.drawing.accuracies import LEAST_WIDTH
from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.finished import finished, summed
from soteacher.report.drawing.panels import (
    INK,
    PAPER,
    add_legend,
    make_panels,
    panel_width,
    say_none,
)
from soteacher.report.drawing.values import short_value
from soteacher.report.figures.base import FigureReport, Measured
from soteacher.report.names import display_name

ROLES = {"student": "Students", "teacher": "Teachers"}
HEIGHT = 0.2
"""Height of a row of cells per width of a panel, without labels."""
LABELS = 0.75
"""Height of the labels of a map, in inches."""
COLOURS = "cividis"
"""matplotlib's map of colours: light is better; distinct for colour-blind readers and in grey."""
BRIGHT = 1.25
"""Cells have dark text if red, green and blue, each from 0 to 1, sum to more than this."""
BASE_VALUE = "^"
"""Marker of the values that the method has in the rest of the study."""


@register
class GridReport(FigureReport):
    """Accuracy over two settings: students' above, teachers' below."""

    def values(self, record: dict[str, Any], measured: Measured) -> pd.DataFrame:
        """Return one row per panel, series, cell and role: mean, sd and interval, in percent.

        Both values are empty for a method to compare with. `own` is true for the values that the
        method has in the rest of the study, `best` for the first of the largest means of a role in
        a panel.
        """
        rows = []
        for point in record["points"]:
            for role in ROLES:
                planned = point[f"{role}s"]
                runs = finished(planned, measured.runs)
                accuracy = pd.to_numeric(measured.runs.loc[runs, "top1"])
                named = ("panel", "series", "x_setting", "x_value", "y_setting", "y_value")
                rows.append(
                    {name: point[name] for name in named}
                    | {"own": point["is_base_value"], "role": role, "best": False}
                    | summed(accuracy, runs, planned, measured.runs)
                )
        table = pd.DataFrame(rows)
        cells = table[(table["x_value"] != "") & (table["n"] > 0)]
        best = cells.groupby(["panel", "role"], sort=False)["mean"].idxmax()
        table.loc[best, "best"] = True
        return table

    def draw(self, table: pd.DataFrame) -> Figure:
        """Return the drawing."""
        names = list(dict.fromkeys(table["panel"]))
        n_rows = table[table["y_value"] != ""].groupby("panel")["y_value"].nunique().max()
        inches = LABELS + n_rows * HEIGHT * max(panel_width(len(names)), LEAST_WIDTH) / 2
        label = display_name(table["y_setting"].iloc[0])
        levels = {role: inches for role in ROLES}
        figure, panels = make_panels(names, display_name(table["x_setting"].iloc[0]), levels, set())
        used = styles(table["series"])
        for name in names:
            rows = table[table["panel"] == name]
            if not (rows["n"] > 0).any():
                say_none(panels[name])
                continue
            for role, axes in panels[name].items():
                if axes.get_ylabel():
                    axes.set_ylabel(label)
                _draw_map(axes, rows[rows["role"] == role], ROLES[role], used)
        add_legend(figure, _keys(table, used))
        return figure

    def describe(self, table: pd.DataFrame) -> str:
        """Return a description that names the best cell of each map."""
        parts = []
        for _, best in table[table["best"]].iterrows():
            of_map = table[
                (table["panel"] == best["panel"])
                & (table["role"] == best["role"])
                & (table["x_value"] != "")
            ]
            parts.append(
                f"{display_name(best['panel'])}, {best['role']}s: from {of_map['mean'].min():.1f} "
                f"to {_with_interval(best)}, best at {best['x_setting']} "
                f"{short_value(best['x_value'])} with {best['y_setting']} "
                f"{short_value(best['y_value'])}"
            )
        return (
            "Maps of test accuracy over the values of two settings of the teacher method. "
            f"{'; '.join(parts) or 'No finished run'}."
        )


def _with_interval(row: pd.Series) -> str:
    """Return a mean with its interval, if it has one."""
    if pd.isna(row["low"]):
        return f"{row['mean']:.1f} %"
    return f"{row['mean']:.1f} % [{row['low']:.1f}, {row['high']:.1f}]"


def _draw_map(axes: Axes, rows: pd.DataFrame, role: str, used: dict[str, tuple[str, str]]) -> None:
    """Draw the cells of one role, its best mean above them, and the scale beside them."""
    cells = rows[rows["x_value"] != ""]
    drawn = cells[cells["n"] > 0]
    compared = rows[(rows["x_value"] == "") & (rows["n"] > 0)]
    across, up = ([*dict.fromkeys(cells[name])] for name in ("x_value", "y_value"))
    axes.set_xticks(range(len(across)), [short_value(value) for value in across])
    axes.set_yticks(range(len(up)), [short_value(value) for value in up])
    axes.set_xlim(-0.5, len(across) - 0.5)
    axes.set_ylim(-0.5, len(up) - 0.5)
    axes.grid(False)
    axes.tick_params(length=0, labelleft=True)
    shown = pd.concat([drawn["mean"], compared["mean"]])
    scale = Normalize(shown.min(), shown.max())
    colours = ScalarMappable(scale, COLOURS)
    for _, cell in cells.iterrows():
        x, y = across.index(cell["x_value"]), up.index(cell["y_value"])
        _draw_cell(axes, x, y, cell, colours)
    for _, best in drawn[drawn["best"]].iterrows():
        x, y = across.index(best["x_value"]), up.index(best["y_value"])
        axes.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=INK, linewidth=2, zorder=4)
        ).set_clip_on(False)
        title = axes.get_title()
        above = f"{role}, best: {_with_interval(best)}"
        axes.set_title(f"{title}\n{above}" if title else above)
    bar = axes.figure.colorbar(colours, ax=axes, fraction=0.06, pad=0.03)
    bar.outline.set_visible(False)
    for _, method in compared.iterrows():
        bar.ax.axhline(method["mean"], color=used[method["series"]][0], linewidth=2.5)


def _draw_cell(axes: Axes, x: int, y: int, cell: pd.Series, colours: ScalarMappable) -> None:
    """Draw one cell with its mean; without a finished run it is hatched."""
    if cell["n"] == 0:
        hatched = Rectangle(
            (x - 0.5, y - 0.5), 1, 1, facecolor=PAPER, edgecolor=INK, hatch="////", linewidth=0
        )
        axes.add_patch(hatched)
        return
    face = colours.to_rgba(cell["mean"])
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=face, linewidth=0))
    ink = "black" if sum(face[:3]) > BRIGHT else "#FEFEFE"  # not the page's colours
    lower = 0.12 if cell["own"] else 0
    axes.text(x, y - lower, f"{cell['mean']:.1f}", color=ink, ha="center", va="center")
    if cell["own"]:
        axes.plot([x], [y + 0.26], BASE_VALUE, color=ink, markersize=4)


def _keys(table: pd.DataFrame, used: dict[str, tuple[str, str]]) -> list[Artist]:
    """Return the legend entries: the markers, the methods to compare with, and the seeds."""
    drawn = table[table["n"] > 0]
    if drawn.empty:
        return []
    cells = table[table["x_value"] != ""]
    method = display_name(cells["series"].iloc[0])
    low, high, planned = drawn["n"].min(), drawn["n"].max(), table["n_planned"].max()
    counted = f"n = {high}" if low == high else f"n = {low}–{high}"
    counted += f" of {planned}" if low < planned else ""
    interval = "95 % interval" if high > 1 else "95 % interval over test images"
    keys: list[Artist] = [
        Line2D(
            [], [], color=INK, marker=BASE_VALUE, linestyle="none", label=f"{method} in the study"
        ),
        Patch(fill=False, edgecolor=INK, linewidth=2, label=f"best mean [{interval}], optimistic"),
    ]
    for series in drawn[drawn["x_value"] == ""]["series"].unique():
        label = f"{display_name(series)}, in the scale"
        keys.append(Line2D([], [], color=used[series][0], linewidth=2.5, label=label))
    if (cells["n"] == 0).any():
        hatched: dict[str, Any] = {
            "facecolor": PAPER,
            "edgecolor": INK,
            "hatch": "////",
            "linewidth": 0,
        }
        keys.append(Patch(label="no finished run", **hatched))
    text = f"mean test accuracy (%), {counted} {'seed' if planned == 1 else 'seeds'}"
    return [*keys, Line2D([], [], linestyle="none", label=text)]
