"""Which runs have numbers, and these numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.core.errors import UserError


def finished(runs: list[str], measures: pd.DataFrame) -> list[str]:
    """Those of some runs that are finished: neither diverged nor blocked."""
    return [run for run in runs if measures.loc[run, "status"] == "done"]


def summed(accuracy: pd.Series, runs: list[str], planned: list[str]) -> dict[str, Any]:
    """What a figure says of the accuracy, a share, of the finished of some planned runs."""
    percent = 100 * accuracy
    return {
        "mean": percent.mean(),
        "sd": percent.std(ddof=1),
        "n": len(runs),
        "n_planned": len(planned),
        "runs": " ".join(runs),
    }


def of_runs(frame: pd.DataFrame, runs: list[str], what: str) -> pd.DataFrame:
    """The rows of some runs; a run without any is a `UserError`. `what` names the frame."""
    held = set(frame["run"])
    for run in runs:
        if run not in held:
            raise UserError(
                f"the {what} do not hold '{run}', which the figure needs; "
                "run the same snakemake command again, it makes what is missing"
            )
    return frame[frame["run"].isin(runs)]
