"""Recompute single files of a study's results, and list what differs."""

from __future__ import annotations

import logging
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soteacher.claims.every_method import make_comparisons
from soteacher.claims.inputs import read_study
from soteacher.claims.table import make_claims
from soteacher.core import files
from soteacher.core.errors import Damaged, UserError
from soteacher.core.hash_list import read_listed
from soteacher.report.csv_files import parse_csv
from soteacher.report.figures import make_figure
from soteacher.report.figures.base import Measured
from soteacher.report.latex import to_latex
from soteacher.report.markdown import to_markdown
from soteacher.report.tables import make_table, parse_table
from soteacher.report.tables.base import Inputs
from soteacher.results.runs_table import runs_table
from soteacher.study.plan import Plan

log = logging.getLogger("soteacher")

EXACT = 1e-9
"""Relative difference that is allowed, because sums can differ between machines."""
MISSING = "missing; rerun the same snakemake command to recreate it"

Frames = dict[str, pd.DataFrame]
"""Recomputed measures of runs, by the suffix of their CSV file's name."""


def of_table(stem: Path, record: dict[str, Any], measures: Frames) -> list[str]:
    """Return the differences between a table's three files and the recomputed table."""
    path = stem.with_suffix(".csv")
    steps = stem.parent.parent / "overhead" / path.name
    try:
        recomputed = make_table(record, Inputs(lambda: measures[""].set_index("run"), steps))
    except UserError as error:
        return [str(error)]
    differing = differences(path, parse_table(path, _content(path)), recomputed)
    for suffix, text in (
        (".md", to_markdown(record, recomputed)),
        (".tex", to_latex(record, recomputed)),
    ):
        path = stem.with_suffix(suffix)
        if _content(path) != text.encode():
            differing.append(f"{path}: differs from the recomputed text")
    log.info("%s.csv: %d cells recomputed", stem, len(recomputed))
    return differing


def of_figure(stem: Path, record: dict[str, Any], measures: Frames) -> list[str]:
    """Return the differences between a figure's CSV and the recomputed numbers."""
    path = stem.with_suffix(".csv")
    runs, *more = measures.values()
    _, recomputed = make_figure(record, Measured(runs.set_index("run"), *more))
    log.info("%s: %d values recomputed", path, len(recomputed))
    return differences(path, parsed(path, ("runs",)), recomputed) + of_drawings(stem)


def of_drawings(stem: Path) -> list[str]:
    """Return one line per drawing that its figure's list of hashes does not have."""
    drawings = [stem.with_suffix(suffix) for suffix in (".png", ".pdf", ".svg")]
    return [line for path in drawings for line in _unlisted(path, drawings[0])]


def _unlisted(path: Path, main: Path | None = None) -> list[str]:
    """Return a line if the list of hashes of the file `main` does not have this file."""
    try:
        read_listed(path, main)
    except Damaged as damage:
        return [str(damage)]
    return []


def of_runs(stem: Path, record: dict[str, Any], measures: Frames) -> list[str]:
    """Return the differences between `runs.csv` and the recomputed table.

    If the numbers are equal, the file must also have its hash: otherwise the claims, which are made
    of it, could not be recomputed.
    """
    path = stem.with_suffix(".csv")
    recomputed = runs_table(record, measures[""].set_index("run"))
    log.info("%s: %d runs recomputed", path, len(recomputed))
    return differences(path, parsed(path, ("run",)), recomputed) or _unlisted(path)


def of_claims(stem: Path, record: dict[str, Any], measures: Frames) -> list[str]:
    """Return the differences between claims.csv, comparisons.csv and the recomputed tables.

    They are made of `runs.csv`, which is recomputed itself, and of the stored times of steps.
    """
    folder = stem.parent
    steps = [folder / f"overhead/{name}.csv" for name in record["timed"]]
    try:
        study = read_study(record, folder / "runs.csv", steps)
    except Damaged:  # the differences of runs.csv or of the table of step times are listed
        return []
    except UserError as error:
        return [str(error)]
    differing = []
    tables = {"claims": make_claims(study), "comparisons": make_comparisons(study)}
    for name, recomputed in tables.items():
        path = folder / f"{name}.csv"
        if not path.is_file():
            differing.append(f"{path}: {MISSING}")
            continue
        text = recomputed.to_csv(index=False).encode()
        differing += differences(path, parsed(path, ()), parse_csv(path, text, ()))
        log.info("%s: %d rows recomputed", path, len(recomputed))
    return differing


def _content(path: Path) -> bytes:
    """Return the content of a result, also of a changed one; empty if there is no such file."""
    return files.read_bytes(path, "the result", missing_ok=True) or b""


def parsed(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return a CSV file, which must have these columns; it may differ from its hash."""
    return parse_csv(path, _content(path), columns)


def measure_files(folder: Path, plan: Plan | None) -> dict[Path, set[str]]:
    """Return the runs of each job that measures, by its files' path without `.csv`.

    Without a plan, these are the runs in the first of its files, or none if that is missing.
    """
    if plan is not None:
        jobs = [job for named in plan.measure_jobs.values() for job in named.values()]
        return {folder / f"{job.role}s" / job.name: {run.id for run in job.runs} for job in jobs}
    lists = sorted(folder.glob("*/*.sha256"))
    first = {path.with_suffix(""): path.with_suffix(".csv") for path in lists}
    return {
        stem: set(parsed(path, ("run",))["run"]) if path.is_file() else set()
        for stem, path in first.items()
    }


def of_measures(runs_of: dict[Path, set[str]], measures: Frames, needed: set[str]) -> list[str]:
    """Return the differences between the measures of runs and the recomputed ones.

    needed : ids of the runs of all tables and figures. The workflow measures only these and what
    is measured with them, so no others are expected. After a study changed, a run can be in the
    files of several jobs; those of one must all be there.
    """
    kinds = {
        stem: [stem.with_name(f"{stem.name}{kind}.csv") for kind in measures] for stem in runs_of
    }
    missing = {
        stem: [path for path in paths if not path.is_file()] for stem, paths in kinds.items()
    }
    measured = {run for stem, runs in runs_of.items() if not missing[stem] for run in runs}
    differing, unmeasured = [], needed - measured
    for stem, runs in runs_of.items():
        if missing[stem] and (not runs or unmeasured & runs):
            differing += [f"{path}: {MISSING}" for path in missing[stem]]
        for path, frame in (
            zip(kinds[stem], measures.values(), strict=True) if runs & needed else ()
        ):
            if path not in missing[stem]:
                recomputed = frame[frame["run"].isin(runs)]
                differing += differences(path, parsed(path, ("run",)), recomputed)
    if unmeasured and not any(missing.values()):
        differing.append(f"the measures of {min(unmeasured)}: {MISSING}")
    return differing


def differences(where: Path, known: pd.DataFrame, recomputed: pd.DataFrame) -> list[str]:
    """Return one line per value of a file that differs from the recomputed value."""
    if len(known) != len(recomputed) or list(known.columns) != list(recomputed.columns):
        return [f"{where}: has other rows or columns than the recomputed file"]
    lines = []
    for column in known.columns:
        for row, (was, now) in enumerate(zip(known[column], recomputed[column], strict=True)):
            if not _equal(was, now):
                lines.append(f"{where}, row {row + 1}, {column}: {was!r}, but recomputed {now!r}")
    return lines


def _equal(was: Any, now: Any) -> bool:
    """Return whether two CSV entries have the same words, with numbers equal within `EXACT`."""
    words = ["" if pd.isna(value) else str(value) for value in (was, now)]
    pairs = zip_longest(words[0].split(), words[1].split())
    return all(a == b or _close(a, b) for a, b in pairs)


def _close(was: str | None, now: str | None) -> bool:
    try:
        return bool(np.isclose(float(was or ""), float(now or ""), rtol=EXACT, atol=0))
    except ValueError:
        return False
