"""Read the CSV files of the workflow; an invalid file is reported in one line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.core.hash_list import read_listed

NEEDED = ("run", "classes", "capability", "ece_null")
"""Columns that not all versions of a measures CSV have."""


def read_csv(
    path: Path, columns: tuple[str, ...], main: Path | None = None, **options: Any
) -> pd.DataFrame:
    """Return a CSV file; raise `UserError` if it cannot be read or lacks one of the columns.

    It must be in the hash list of the file `main`, by default its own (see `core.hash_list`).

    options : options of `pandas.read_csv`.
    """
    return parse_csv(path, read_listed(path, main), columns, **options)


def parse_csv(path: Path, data: bytes, columns: tuple[str, ...], **options: Any) -> pd.DataFrame:
    """Return the table in the content of a CSV file."""
    try:
        table = pd.read_csv(io.BytesIO(data), encoding="utf-8", **options)
    except ValueError as error:
        raise unreadable(path, files.reason(error)) from None
    for name in columns:
        if name not in table:
            raise unreadable(path, f"it has no column '{name}'")
    return table


def unreadable(path: Path, why: str) -> UserError:
    """Return the error for a file that cannot be read: the reason, and what to do."""
    return UserError(
        f"cannot read {path}: {why}; delete it and rerun the same snakemake command to recreate it"
    )


def read_measures(
    paths: list[Path], planned: dict[str, str], as_text: bool = False
) -> pd.DataFrame:
    """Return the measures of the planned runs, by run id; refuse runs with other settings.

    planned : run id to the (short) hash of the spec that the study needs.
    as_text : keep every number as its text.
    """
    dtype: Any = str if as_text else {"note": str}
    frames = [read_csv(path, NEEDED, dtype=dtype, keep_default_na=False) for path in paths]
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
