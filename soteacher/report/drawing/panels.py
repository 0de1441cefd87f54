"""Style, panels and legend of all figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from soteacher.report.names import display_name

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.0
"""Widths of one and two columns of a journal page, in inches."""
LEAST_PANEL = 2.3
"""Least width of a panel with its labels, in inches."""
INK = "#404040"
PAPER = "white"
"""The colour behind the drawing, and in hollow markers."""
GRID = "#E4E4E4"
BAND = 0.18
"""Opacity of the band around a mean."""
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "figure.constrained_layout.h_pad": 0.07,
    "figure.dpi": 200,
    "font.family": "DejaVu Sans",  # shipped with matplotlib: identical files on every machine
    "font.size": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "legend.borderaxespad": 0.3,
    "legend.columnspacing": 1.4,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.2,
    "lines.markeredgewidth": 0.8,
    "lines.markersize": 3.6,
    "pdf.fonttype": 42,  # text stays text, as publishers require
    "savefig.dpi": 200,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "xtick.major.size": 2.5,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": 8,
    "ytick.major.size": 2.5,
    "ytick.major.width": 0.6,
}


@contextmanager
def house_style(width: float = TWO_COLUMNS) -> Iterator[None]:
    """Set the figures' matplotlib style, whatever the user's settings; restore those at the end.

    width : the width that a figure can use, in inches; `page_width` returns it.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE | {"figure.figsize": (width, width)})
        yield


def page_width() -> float:
    """Return the width that a figure can use in the current style, in inches."""
    width: float = matplotlib.rcParams["figure.figsize"][0]
    return width


def panel_width(n: int) -> float:
    """Return the width of one of n panels with its labels, in inches."""
    _, across, width = _arrange(n)
    return width / across


def _arrange(n: int) -> tuple[int, int, float]:
    """Return rows and columns of n panels, as even as possible, and the figure's width (inches)."""
    rows = math.ceil(n / (page_width() // LEAST_PANEL))
    across = math.ceil(n / rows)
    return rows, across, ONE_COLUMN if across == 1 else page_width()


def _all(name: str) -> str:
    return ""


def make_panels(
    names: list[str],
    x: str,
    levels: dict[str, float],
    shared: set[str],
    group: Callable[[str], str] = _all,
) -> tuple[Figure, dict[str, dict[str, Axes]]]:
    """Return a figure of empty panels, and the axes of each panel by level.

    A panel is a stack of one or more axes, called levels.

    x : label of the x axes.   levels : label of each level's y axis, from the top, to its height in
    inches.   shared : the levels with the same y axis in all panels of a group.   group : name of a
    panel to that of its group; by default, all panels are in one group.
    """
    rows, across, width = _arrange(len(names))
    heights = list(levels.values()) * rows
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    panels: dict[str, dict[str, Axes]] = {}
    for number, name in enumerate(names):
        row, column = divmod(number, across)
        top = None
        stack: dict[str, Axes] = {}
        for level, y in enumerate(levels):
            alike = [other for other in panels if group(other) == group(name) and y in shared]
            like = panels[alike[0]][y] if alike else None
            place = grid[row * len(levels) + level, column]
            axes = stack[y] = figure.add_subplot(place, sharex=top, sharey=like)
            top = top or axes
            lowest = level == len(levels) - 1
            scale_on_left = column > 0 and names[number - 1] in alike
            axes.tick_params(labelbottom=lowest, labelleft=not scale_on_left)
            if column == 0:
                axes.set_ylabel(y)
            if lowest and number + across >= len(names):  # there is no panel below
                axes.set_xlabel(x)
        next(iter(stack.values())).set_title(display_name(name))
        panels[name] = stack
    figure.align_labels()
    return figure, panels


def say_none(stack: dict[str, Axes]) -> None:
    """Write in a panel that it has no finished run."""
    for axes in stack.values():
        axes.grid(False)
        axes.tick_params(bottom=False, labelbottom=False)
        axes.set_xlabel("")
        if len(axes.get_shared_y_axes().get_siblings(axes)) == 1:
            axes.tick_params(left=False, labelleft=False)  # its y axis has no scale
    top = next(iter(stack.values()))
    top.text(0.5, 0.5, "no finished run", ha="center", va="center", transform=top.transAxes)


def n_keys(table: pd.DataFrame) -> list[Artist]:
    """Return the legend entry for the number of seeds, and for the intervals if there are any.

    table : `n`, `n_planned`, and `low` and `high` (intervals) or `sd`, if the figure shows them.
    """
    drawn = table[table["n"] > 0]
    if drawn.empty:
        return []
    low, high, planned = drawn["n"].min(), drawn["n"].max(), table["n_planned"].max()
    text = f"n = {high}" if low == high else f"n = {low}–{high}"
    if low < planned:
        text += f" of {planned}"
    text += " seed" if planned == 1 else " seeds"
    if "low" in table and drawn["low"].notna().any():
        what = "Mean, 95 % interval" if high > 1 else "95 % interval over test images"
    elif high > 1 and "sd" in table:
        what = "Mean ± sd"
    else:
        return [Line2D([], [], linestyle="none", label=text)]
    return [Patch(color=INK, alpha=BAND, linewidth=0, label=f"{what}, {text}")]


def add_legend(figure: Figure, *groups: Sequence[Artist]) -> None:
    """Add a legend below all panels, with as few rows as possible; each group begins a column.

    If that is wider than the figure, the legend has one column. The figure grows by its height.
    """
    if not any(groups):
        return
    renderer = FigureCanvasAgg(figure).get_renderer()
    longest = max(len(group) for group in groups)
    choices = [(_padded(groups, rows), rows) for rows in range(1, longest + 1)]
    one_column = [key for group in groups for key in group]
    for keys, rows in [*choices, (one_column, len(one_column))]:
        columns = len(keys) // rows
        legend = figure.legend(handles=keys, loc="outside lower center", ncols=columns)
        extent = legend.get_window_extent(renderer)
        if extent.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    figure.set_figheight(figure.get_figheight() + extent.height / figure.dpi)


def _padded(groups: Sequence[Sequence[Artist]], rows: int) -> list[Artist]:
    """Return the groups' entries, with blanks that fill the last column of each."""
    keys: list[Artist] = []
    for group in groups:
        blanks = [Line2D([], [], linestyle="none", label=" ")] * (-len(group) % rows)
        keys += [*group, *blanks]  # a legend is filled column by column
    return keys
