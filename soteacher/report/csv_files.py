"""The CSV files of the workflow: a file that is none, or lacks a column, is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core.errors import UserError


def read_csv(path: Path, columns: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """Return a CSV of this workflow; `UserError` if it is none, or one of the columns is missing.

    options : of `pandas.read_csv`.
    """
    try:
        read = pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise unreadable(path, " ".join(str(error).split())) from None
    for name in columns:
        if name not in read:
            raise unreadable(path, f"no column '{name}'")
    return read


def unreadable(path: Path, why: str) -> UserError:
    """Return the error that says why a file cannot be read, and what to do."""
    return UserError(
        f"cannot read {path}: {why}; delete it and run the same snakemake command again"
    )


def read_measures(paths: list[Path], planned: dict[str, str]) -> pd.DataFrame:
    """Return measures of the planned runs, by run id; refuse those of other settings.

    planned : run id to the (short) hash of the spec that the study asks for.
    """
    frames = [
        read_csv(path, ("run",), dtype={"note": str}, keep_default_na=False) for path in paths
    ]
    rows = pd.concat(frames).set_index("run")
    for run_id, spec_sha256 in planned.items():
        if run_id not in rows.index:
            raise UserError(f"the measures do not hold '{run_id}', which the study asks for")
        if not rows.loc[run_id, "spec_sha256"].startswith(spec_sha256):
            raise UserError(
                f"the measures of '{run_id}' are of other settings than the study asks for; "
                "run the same snakemake command again, it trains what is new"
            )
    return rows.loc[list(planned)]
