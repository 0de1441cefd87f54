"""The forest plot of the page: a difference with its interval for each comparison of a claim.

The template draws each row as a small SVG without a view box, with positions in percent of its
width: texts keep their size on every screen, and colours are those of the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from soteacher.report.page.differences import count, interval, printed

NUMBERS = ("difference", "low", "high")
MARGIN = 4.0
"""Free space on each side, in percent of the width."""
MOST_TICKS = 7
"""Most steps between the ticks of the axis."""


def forest(comparisons: pd.DataFrame) -> dict[str, Any] | None:
    """Return the rows, the ticks and the place of zero; None if nothing has a difference.

    comparisons : rows of `claims.csv` of one claim.
    """
    names = [f"{before}{name}" for before in ("", "paper_") for name in NUMBERS]
    known = comparisons[["difference", "paper_difference"]].notna().any(axis=1)
    rows = comparisons[known].sort_values(
        "difference", key=lambda values: values.isna(), kind="stable"
    )  # this study's first
    if rows.empty:
        return None
    values = pd.concat([pd.to_numeric(rows[name]) for name in names]).dropna()
    ticks = _ticks(min(0.0, values.min()), max(0.0, values.max()))

    def place(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return round(float(MARGIN + (100 - 2 * MARGIN) * share), 2)

    return {
        "zero": place(0),
        "ticks": [(place(tick), f"{tick:g}".replace("-", "−")) for tick in ticks],
        "rows": [
            {
                "text": printed(row["comparison"]),
                "here": _bar(row, "", place),
                "difference": interval(row),
                "n": count(row),
                "paper": _bar(row, "paper_", place),
                "paper_difference": interval(row, "paper_"),
            }
            for _, row in rows.iterrows()
        ],
        "unit": rows["unit"].iloc[0],
    }


def _bar(row: pd.Series, before: str, place: Callable[[float], float]) -> dict[str, float] | None:
    """Return the places of a difference and of the ends of its interval; None if it is missing."""
    at, low, high = (row[f"{before}{name}"] for name in NUMBERS)
    if pd.isna(at):
        return None
    ends = (at, at) if pd.isna(low) or pd.isna(high) else (low, high)
    return {"at": place(at), "low": place(ends[0]), "high": place(ends[1])}


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers that begin at or below `low` and end at or above `high`."""
    span = max(high - low, 1e-9)
    unit = 10.0 ** math.floor(math.log10(span / MOST_TICKS))
    step = next(unit * m for m in (1, 2, 5, 10) if span <= MOST_TICKS * unit * m)
    return [step * n for n in range(math.floor(low / step), math.ceil(high / step) + 1)]
