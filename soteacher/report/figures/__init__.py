"""Figures: one module a kind, drawn from measures only.

A kind has `values`, the numbers that are drawn, and `draw`, which draws these numbers and no
others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from soteacher.core import files
from soteacher.core.errors import UserError, unknown
from soteacher.report.figures import checkpoints, curves, reliability, sweep
from soteacher.report.figures.drawing import house_style
from soteacher.report.tables.tables import trained_on

KINDS = {"checkpoints": checkpoints, "curves": curves, "reliability": reliability, "sweep": sweep}
# No dates and no versions: the same numbers are the same bytes.
METADATA = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def make_figure(
    block: dict[str, Any],
    measures: pd.DataFrame,
    epochs: pd.DataFrame,
    reliability: pd.DataFrame,
) -> tuple[Figure, pd.DataFrame]:
    """A figure and the numbers in it, one row a point; the module of its kind says what it shows.

    block : `kind` and `parts`, what to draw of which runs. Its `title` is the caption, which
    stands beside a figure and not in it.
    measures : by run id.   epochs : a row a run and epoch.   reliability : a row a run, bin and
    whether the logits were scaled.

    Only finished runs are drawn. Where there are fewer than planned, `n` is below `n_planned`;
    where there is none, a row with n = 0 says so. `runs` are the n runs of a point, `trained_on`
    is what they were computed on.
    """
    if block["kind"] not in KINDS:
        raise UserError(unknown("kind of figure", block["kind"], KINDS))
    kind = KINDS[block["kind"]]
    table = kind.values(block["parts"], measures, epochs, reliability)
    machines = {runs: trained_on(measures.loc[runs.split()]) for runs in set(table["runs"])}
    table["trained_on"] = table["runs"].map(machines)
    with house_style():
        return kind.draw(table), table


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG (200 dots per inch) or PDF, by the path's suffix."""
    suffix = Path(path).suffix.removeprefix(".")
    if suffix not in METADATA:
        raise UserError(unknown("format of a figure", suffix, METADATA))
    with house_style():
        files.write(
            path, lambda file: figure.savefig(file, format=suffix, metadata=METADATA[suffix])
        )
