"""The finished runs of a figure, and their numbers."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from scipy import special  # scipy.stats takes longer than the figure's numbers

from soteacher.core.errors import UserError

COVERAGE = 0.95


def finished(runs: list[str], measures: pd.DataFrame) -> list[str]:
    """Return the runs that are finished: neither diverged nor blocked."""
    return [run for run in runs if measures.loc[run, "status"] == "done"]


def summed(
    accuracy: pd.Series,
    runs: list[str],
    planned: list[str],
    measures: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Return mean, sd and interval, in percent, of the accuracies (shares) of the finished runs.

    `low` and `high` are the ends of the 95 % interval of the mean over seeds (Student's t), if at
    least two runs are finished. If only one run is planned, they are those of its own interval over
    test images, `top1_low` and `top1_high`, if `measures` has them. Otherwise they are NaN.
    """
    numbers, n = mean_interval(100 * accuracy), len(runs)
    if n == len(planned) == 1 and measures is not None and "top1_low" in measures:
        ends = measures.loc[runs[0], ["top1_low", "top1_high"]]
        numbers["low"], numbers["high"] = 100 * pd.to_numeric(ends, errors="coerce")
    return numbers | {"n": n, "n_planned": len(planned), "runs": " ".join(runs)}


def mean_interval(values: pd.Series) -> dict[str, Any]:
    """Return `mean`, `sd`, and `low` and `high`: the 95 % interval of the mean over seeds.

    It is that of Student's t; with fewer than two values, the ends are NaN.
    """
    mean, sd, n = values.mean(), values.std(ddof=1), len(values)
    low = high = math.nan
    if n > 1:
        half = special.stdtrit(n - 1, (1 + COVERAGE) / 2) * sd / math.sqrt(n)
        low, high = mean - half, mean + half
    return {"mean": mean, "sd": sd, "low": low, "high": high}


def of_runs(frame: pd.DataFrame, runs: list[str], what: str) -> pd.DataFrame:
    """Return the rows of some runs; raise `UserError` if a run has none. `what` names the frame."""
    known = set(frame["run"])
    for run in runs:
        if run not in known:
            raise UserError(
                f"the {what} lack '{run}', which the figure needs; rerun the same snakemake "
                "command to recreate them"
            )
    return frame[frame["run"].isin(runs)]
