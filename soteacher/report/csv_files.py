"""Read the CSV files of the workflow; an invalid file is reported in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core.errors import UserError

NEEDED = ("run", "classes", "capability")
"""Columns that not all versions of a measures CSV have."""


def read_csv(path: Path, columns: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """Return a CSV file; raise `UserError` if it cannot be read or lacks one of the columns.

    options : options of `pandas.read_csv`.
    """
    try:
        table = pd.read_csv(path, **options)
    except (OSError, ValueError) as error:
        raise unreadable(path, " ".join(str(error).split())) from None
    for name in columns:
        if name not in table:
            raise unreadable(path, f"it has no column '{name}'")
    return table


def unreadable(path: Path, why: str) -> UserError:
    """Return the error for a file that cannot be read: the reason, and what to do."""
    return UserError(
        f"cannot read {path}: {why}; delete it and rerun the same snakemake command to recreate it"
    )


def read_measures(paths: list[Path], planned: dict[str, str]) -> pd.DataFrame:
    """Return the measures of the planned runs, by run id; refuse runs with other settings.

    planned : run id to the (short) hash of the spec that the study needs.
    """
    frames = [read_csv(path, NEEDED, dtype={"note": str}, keep_default_na=False) for path in paths]
    rows = pd.concat(frames).set_index("run")
    for run_id, spec_sha256 in planned.items():
        if run_id not in rows.index:
            raise UserError(
                f"the measures lack '{run_id}', which the study needs; rerun the same snakemake "
                "command to compute them"
            )
        if not rows.loc[run_id, "spec_sha256"].startswith(spec_sha256):
            raise UserError(
                f"the measures of '{run_id}' have other settings than the study needs; rerun the "
                "same snakemake command to train this run with the new settings"
            )
    return rows.loc[list(planned)]
