"""The numbers of a study's measures, tables and figures made again from the records of its runs."""

from __future__ import annotations

import logging
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.data.prepared import open_prepared
from soteacher.report.csv_files import read_csv
from soteacher.report.figures import make_figure
from soteacher.report.figures.base import Measured
from soteacher.report.latex import to_latex
from soteacher.report.markdown import to_markdown
from soteacher.report.tables import make_table, read_table
from soteacher.report.tables.base import Inputs
from soteacher.results.collect import COLUMNS, EPOCHS, RELIABILITY, check_planned, measure
from soteacher.store.run_folder import RunFolder
from soteacher.study.plan import Plan
from soteacher.study.summary import RECORD_FORMAT, block_record, planned

log = logging.getLogger("soteacher")

EXACT = 1e-9
"""Relative difference that another machine's sums may make."""
REQUESTS = "asked"
"""The folder of the files in which the workflow says what each table and figure shows."""
HASH = "[0-9a-f]" * 16
"""The end of the names of these files."""

Manifests = dict[Path, dict[str, Any]]
Frames = dict[str, pd.DataFrame]


def verify(results: Path, store: Path, plan: Plan | None = None) -> list[str]:
    """Recompute what `results` holds from the runs in the store; return what differs, in words.

    Every file of every run is compared with its hash in the job's manifest, every prepared array
    with its hash; measures are made again from those files, from the measures each table (CSV,
    Markdown, LaTeX) and the CSV behind each figure. Pictures and the page are not compared, and
    training steps are not timed again: their table is made from the times as they were written.

    With a plan, manifests, tables and figures must be those that it asks for, none missing; what
    else `results` holds is left out. Without one, whatever is there is compared with what the
    workflow once asked for.
    """
    manifests = _manifests(results, plan)
    entries = _entries(manifests)
    found = _measured(entries, results / "data", store)
    log.info("%s: all files of %d runs are as recorded", results, len(entries))
    differing = _of_measures(results / "measures", manifests, found)
    for part, compare in (("tables", _of_table), ("figures", _of_figure)):
        for name, records in _records(results, part, plan, found[""]).items():
            stem = results / part / name
            if not records:
                differing.append(
                    f"{stem}.csv: no file in {results / REQUESTS} says of these runs what it "
                    "shows; give --study"
                )
            elif not stem.with_suffix(".csv").is_file():
                differing.append(f"{stem}.csv: missing; run the study first")
            else:
                nearest: list[str] = min((compare(stem, one, found) for one in records), key=len)
                differing += nearest
    return differing


def _manifests(results: Path, plan: Plan | None) -> Manifests:
    """The manifests of the plan's jobs, or all that are there."""
    if not (results / "runs").is_dir():
        raise UserError(f"no results in {results}: expected the results/<study> of a study")
    paths = sorted(results.glob("runs/*/*.json"))
    if plan is not None:
        jobs = {
            results / f"runs/{job.role}s/{job.name}.json": job
            for job in plan.jobs_of(plan.runs.values())
        }
        if left := len({*paths} - jobs.keys()):
            log.info("%s: %d manifests left out, the study has no such jobs", results, left)
        paths = list(jobs)
    manifests = {path: files.read_json(path, "the manifest") for path in paths}
    for path, manifest in manifests.items():
        if not isinstance(manifest, dict) or not manifest.get("runs"):
            raise UserError(f"{path} is no manifest of runs: delete it and run the study again")
        if plan is not None:
            check_planned(manifest, planned(jobs[path].runs))
    if not manifests:
        raise UserError(f"no manifests in {results / 'runs'}: run the study first")
    return manifests


def _entries(manifests: Manifests) -> dict[str, dict[str, Any]]:
    """Run id to what the manifests say of it, which must be one thing."""
    entries: dict[str, dict[str, Any]] = {}
    told: dict[str, Path] = {}
    for path, manifest in manifests.items():
        for run_id, entry in manifest["runs"].items():
            if entries.setdefault(run_id, entry) != entry:
                raise UserError(
                    f"{told[run_id]} and {path} hold different runs '{run_id}', one of them of an "
                    "earlier version of the study: give the study's file with --study"
                )
            told.setdefault(run_id, path)
    return entries


def _measured(entries: dict[str, dict[str, Any]], manifests: Path, store: Path) -> Frames:
    """Measures of all runs, made again; by the ends of the names of the files that have them."""
    frames: dict[str, list[pd.DataFrame]] = {"": [], ".epochs": [], ".reliability": []}
    for data in sorted({run_id.partition("/")[0] for run_id in entries}):
        prepared = open_prepared(manifests / f"{data}.json", store)
        prepared.check()
        own = {run_id: run for run_id, run in entries.items() if run_id.partition("/")[0] == data}
        for run_id, entry in own.items():
            folder = RunFolder(store, entry["fingerprint"], run_id)
            for name, sha256 in entry["artifacts"].items():
                files.checked(folder.path / name, sha256, f"{name} of {run_id}")
        found = measure({"runs": own}, prepared, store)
        frames[""].append(pd.DataFrame(found.runs, columns=COLUMNS))
        frames[".epochs"].append(pd.DataFrame(found.epochs, columns=EPOCHS))
        frames[".reliability"].append(pd.DataFrame(found.reliability, columns=RELIABILITY))
    return {kind: pd.concat(parts, ignore_index=True) for kind, parts in frames.items()}


def _of_measures(folder: Path, manifests: Manifests, found: Frames) -> list[str]:
    differing = []
    for path, manifest in manifests.items():
        for kind, frame in found.items():
            known = folder / path.parent.name / f"{path.stem}{kind}.csv"
            if not known.is_file():
                differing.append(f"{known}: missing; run the study first")
                continue
            again = frame[frame["run"].isin(manifest["runs"])]
            differing += _differences(str(known), read_csv(known, ("run",)), again)
    return differing


def _records(
    results: Path, part: str, plan: Plan | None, runs: pd.DataFrame
) -> dict[str, list[dict[str, Any]]]:
    """What each table or figure shows; without a plan, all that the workflow ever asked for.

    The workflow's files stay when the study changes: those of other runs are passed over, and
    those of another version.
    """
    there = [path.stem for path in sorted((results / part).glob("*.csv"))]
    if plan is not None:
        records = {name: [block_record(plan, name)] for name in getattr(plan.study, part)}
        for name in there:
            if name not in records:
                log.info("%s: left out, the study does not ask for it", results / part / name)
        return records
    hashes = dict(zip(runs["run"], runs["spec_sha256"], strict=True))
    found = {}
    for name in there:
        paths = sorted((results / REQUESTS).glob(f"{name}-{HASH}.json"))
        records_of = [files.read_json(path, f"what {name} shows") for path in paths]
        found[name] = [
            record
            for record in records_of
            if record.get("format") == RECORD_FORMAT
            and all(hashes.get(run, "").startswith(sha) for run, sha in record["runs"].items())
        ]
    if part == "tables" and not found:
        raise UserError(f"no tables in {results}/tables: run the study first")
    return found


def _of_table(stem: Path, record: dict[str, Any], found: Frames) -> list[str]:
    """What of a table's three files is not what it was asked for."""
    path = stem.with_suffix(".csv")
    steps = stem.parent.parent / "overhead" / path.name
    try:
        again = make_table(record, Inputs(lambda: found[""].set_index("run"), steps))
    except UserError as error:
        return [str(error)]
    differing = _differences(str(path), read_table(path), again)
    for suffix, text in ((".md", to_markdown(record, again)), (".tex", to_latex(record, again))):
        path = stem.with_suffix(suffix)
        if not path.is_file() or path.read_text() != text:
            differing.append(f"{path}: is not what the records give")
    log.info("%s.csv: %d cells made again", stem, len(again))
    return differing


def _of_figure(stem: Path, record: dict[str, Any], found: Frames) -> list[str]:
    """What of the numbers behind a figure is not what it was asked for."""
    path = stem.with_suffix(".csv")
    runs, epochs, reliability = found.values()
    _, again = make_figure(record, Measured(runs.set_index("run"), epochs, reliability))
    log.info("%s: %d values made again", path, len(again))
    return _differences(str(path), read_csv(path, ("runs",)), again)


def _differences(where: str, known: pd.DataFrame, again: pd.DataFrame) -> list[str]:
    """One line a value of a file that is not what the records give."""
    if len(known) != len(again) or list(known.columns) != list(again.columns):
        return [f"{where}: has other rows or columns than the records give"]
    found = []
    for column in known.columns:
        for row, (was, now) in enumerate(zip(known[column], again[column], strict=True)):
            if not _equal(was, now):
                found.append(
                    f"{where}, row {row + 1}, {column}: {was!r}, but the records give {now!r}"
                )
    return found


def _equal(was: Any, now: Any) -> bool:
    """Whether two entries of a CSV are the same words, with numbers equal to the last bits."""
    words = ["" if pd.isna(value) else str(value) for value in (was, now)]
    pairs = zip_longest(words[0].split(), words[1].split())
    return all(a == b or _close(a, b) for a, b in pairs)


def _close(was: str | None, now: str | None) -> bool:
    try:
        return bool(np.isclose(float(was or ""), float(now or ""), rtol=EXACT, atol=0))
    except ValueError:
        return False
