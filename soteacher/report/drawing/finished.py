"""The finished runs of a figure, and their numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.core.errors import UserError


def finished(runs: list[str], measures: pd.DataFrame) -> list[str]:
    """Return the runs that are finished: neither diverged nor blocked."""
    return [run for run in runs if measures.loc[run, "status"] == "done"]


def summed(accuracy: pd.Series, runs: list[str], planned: list[str]) -> dict[str, Any]:
    """Return mean and sd, in percent, of the accuracies (shares) of the finished runs."""
    percent = 100 * accuracy
    return {
        "mean": percent.mean(),
        "sd": percent.std(ddof=1),
        "n": len(runs),
        "n_planned": len(planned),
        "runs": " ".join(runs),
    }


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
