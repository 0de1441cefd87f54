"""Recompute the measures, tables, figures and `runs.csv` of a study from the stored runs."""

from __future__ import annotations

import logging
import os
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soteacher.core import files
from soteacher.core.errors import Damaged, UserError
from soteacher.core.hash_list import read_listed
from soteacher.data.prepared import open_prepared
from soteacher.report.csv_files import parse_csv
from soteacher.report.figures import make_figure
from soteacher.report.figures.base import Measured
from soteacher.report.latex import to_latex
from soteacher.report.markdown import to_markdown
from soteacher.report.tables import make_table, parse_table
from soteacher.report.tables.base import Inputs
from soteacher.results.collect import COLUMNS, EPOCHS, RELIABILITY, check_planned, measure
from soteacher.results.runs_table import runs_table
from soteacher.store.forms import read_manifest
from soteacher.store.run_folder import RunFolder
from soteacher.study.plan import Plan
from soteacher.study.requests import read_request
from soteacher.study.run_table import RUNS_FORMAT, runs_record
from soteacher.study.summary import RECORD_FORMAT, block_record, planned

log = logging.getLogger("soteacher")

EXACT = 1e-9
"""Relative difference that is allowed, because sums can differ between machines."""
REQUESTS = "asked"
"""The folder of the request files, in which the workflow describes each table and figure."""
PARTS = ("tables", "figures", ".")
"""The folders in `results` with recomputed files; `runs.csv` has no folder."""
HASH = "[0-9a-f]" * 16
"""The pattern of the hash at the end of their names."""

Manifests = dict[Path, dict[str, Any]]
Frames = dict[str, pd.DataFrame]


def verify(results: Path, store: Path, plan: Plan | None = None) -> list[str]:
    """Recompute the files in `results` from the stored runs; return the differences, in words.

    Every file of every run is compared with its hash in the job's manifest, and every prepared
    array with its hash. Measures are recomputed from these files. Each table (CSV, Markdown,
    LaTeX), the CSV of each figure and `runs.csv` are recomputed from the measures. The drawings of
    a figure (PNG, PDF, SVG) are compared with its list of hashes; the page is not compared.
    Training steps are not timed again: their table is recomputed from the stored times.

    With a plan, all manifests, tables and figures of the plan must exist; other files in `results`
    are skipped. Without a plan, all tables and figures that exist are compared with the request
    files of the workflow; damaged ones are left out with a warning. `runs.csv` is compared if it
    exists: the target of a single table does not make it.
    """
    manifests = _manifests(results, plan)
    entries = _entries(manifests)
    measures = _measured(entries, results / "data", store)
    log.info("%s: all files of %d runs match their hashes", results, len(entries))
    shown = {part: _records(results, part, plan, measures[""]) for part in PARTS}
    needed = {
        run
        for named in shown.values()
        for records in named.values()
        for record in records
        for run in record["runs"]
    }
    differing = _of_links(results, entries)
    differing += _of_measures(results / "measures", manifests, measures, needed)
    for part, compare in zip(PARTS, (_of_table, _of_figure, _of_runs), strict=True):
        for name, records in shown[part].items():
            stem = results / part / name
            if not records:
                differing.append(
                    f"{stem}.csv: no file in {results / REQUESTS} describes it for these runs; "
                    "pass the study file with --study"
                )
            elif not stem.with_suffix(".csv").is_file():
                differing.append(
                    f"{stem}.csv: missing; rerun the same snakemake command to recreate it"
                )
            else:
                fewest: list[str] = min((compare(stem, one, measures) for one in records), key=len)
                differing += fewest
    return differing


def _manifests(results: Path, plan: Plan | None) -> Manifests:
    """Return the manifests of the plan's jobs, or without a plan all manifests."""
    if not any((results / part).is_dir() for part in ("runs", "tables")):
        raise UserError(f"no results in {results}: expected the folder results/<study> of a study")
    paths = sorted(results.glob("runs/*/*.json"))
    if plan is not None:
        jobs = {
            results / f"runs/{job.role}s/{job.name}.json": job
            for job in plan.jobs_of(plan.runs.values())
        }
        if left := len({*paths} - jobs.keys()):
            log.info("%s: %d manifests skipped, the study has no such jobs", results, left)
        paths = list(jobs)
    manifests = {path: read_manifest(path, "the manifest") for path in paths}
    for path, manifest in manifests.items():
        if not manifest.get("runs"):
            raise UserError(
                f"{path} is not a manifest of runs: delete it and rerun the same snakemake command "
                "to recreate it"
            )
        if plan is not None:
            check_planned(path, manifest, planned(jobs[path].runs))
    if not manifests and (results / "runs").is_dir():  # a study can need no runs
        raise UserError(f"no manifests in {results / 'runs'}: run the study first")
    return manifests


def _entries(manifests: Manifests) -> dict[str, dict[str, Any]]:
    """Return run id to the entry in the manifests, which must be the same in all of them."""
    entries: dict[str, dict[str, Any]] = {}
    first: dict[str, Path] = {}
    for path, manifest in manifests.items():
        for run_id, entry in manifest["runs"].items():
            if entries.setdefault(run_id, entry) != entry:
                raise UserError(
                    f"{first[run_id]} and {path} have different runs '{run_id}'; one of them is of "
                    "an earlier version of the study: pass the study file with --study"
                )
            first.setdefault(run_id, path)
    return entries


def _measured(entries: dict[str, dict[str, Any]], manifests: Path, store: Path) -> Frames:
    """Return the recomputed measures of all runs, by the suffix of their CSV file's name."""
    frames: dict[str, list[pd.DataFrame]] = {"": [], ".epochs": [], ".reliability": []}
    for data in sorted({run_id.partition("/")[0] for run_id in entries}):
        prepared = open_prepared(manifests / f"{data}.json", store)
        prepared.check()
        runs = {run_id: run for run_id, run in entries.items() if run_id.partition("/")[0] == data}
        for run_id, entry in runs.items():
            folder = RunFolder(store, entry["fingerprint"], run_id)
            for name, sha256 in entry["artifacts"].items():
                files.checked(folder.path / name, sha256, f"{name} of {run_id}")
        measured = measure({"runs": runs}, prepared, store)
        frames[""].append(pd.DataFrame(measured.runs, columns=COLUMNS))
        frames[".epochs"].append(pd.DataFrame(measured.epochs, columns=EPOCHS))
        frames[".reliability"].append(pd.DataFrame(measured.reliability, columns=RELIABILITY))
    columns = {"": COLUMNS, ".epochs": EPOCHS, ".reliability": RELIABILITY}
    return {
        kind: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns[kind])
        for kind, parts in frames.items()
    }


def _of_links(results: Path, entries: dict[str, dict[str, Any]]) -> list[str]:
    """Return the links to runs' folders that lead elsewhere; results may be kept without links."""
    differing = []
    for run_id, entry in entries.items():
        link = results / f"{entry['spec']['role']}s" / run_id
        folder = RunFolder(Path(), entry["fingerprint"], run_id).path.name
        leads_to = os.readlink(link) if link.is_symlink() else folder
        if entry["status"] != "blocked" and Path(leads_to).name != folder:
            differing.append(
                f"{link}: leads to {leads_to} and not to the folder of this run, {folder}; "
                f"{files.AGAIN}"
            )
    return differing


def _of_measures(
    folder: Path, manifests: Manifests, measures: Frames, needed: set[str]
) -> list[str]:
    """Return the differences between the measures of jobs and the recomputed ones.

    needed : ids of the runs of all tables and figures. The workflow measures only the jobs of these
    runs, so no others are expected. After a study changed, a run can be in the manifests of several
    jobs; one of them must be measured.
    """
    paths = {
        path: [folder / path.parent.name / f"{path.stem}{kind}.csv" for kind in measures]
        for path in manifests
    }
    missing = {
        path: [known for known in kinds if not known.is_file()] for path, kinds in paths.items()
    }
    measured = {run for path in paths if not missing[path] for run in manifests[path]["runs"]}
    differing = []
    for path, kinds in paths.items():
        runs = needed.intersection(manifests[path]["runs"])
        if runs - measured:
            differing += [
                f"{known}: missing; rerun the same snakemake command to recreate it"
                for known in missing[path]
            ]
        for known, frame in zip(kinds, measures.values(), strict=True) if runs else ():
            if known not in missing[path]:
                recomputed = frame[frame["run"].isin(manifests[path]["runs"])]
                differing += _differences(known, _parsed(known, ("run",)), recomputed)
    return differing


def _records(
    results: Path, part: str, plan: Plan | None, runs: pd.DataFrame
) -> dict[str, list[dict[str, Any]]]:
    """Return name to the records of each file of a part, from the plan or the request files.

    Request files remain after a study changes. Those with other runs or of another version are
    skipped.
    """
    pattern, version = ("runs.csv", RUNS_FORMAT) if part == "." else ("*.csv", RECORD_FORMAT)
    existing = [path.stem for path in sorted((results / part).glob(pattern))]
    if plan is not None and part == ".":
        return {name: [runs_record(plan)] for name in existing}
    if plan is not None:
        records = {name: [block_record(plan, name)] for name in getattr(plan.study, part)}
        for name in existing:
            if name not in records:
                log.info("%s: skipped, the study has no such block", results / part / name)
        return records
    hashes = dict(zip(runs["run"], runs["spec_sha256"], strict=True))
    matching = {}
    for name in existing:
        paths = sorted((results / REQUESTS).glob(f"{name}-{HASH}.json"))
        records_of = []
        for path in paths:
            try:
                records_of.append(read_request(path, f"what {name} shows"))
            except Damaged as damage:  # it may be of an earlier version of the study
                log.warning("%s", damage)
        matching[name] = [
            record
            for record in records_of
            if record.get("format") == version
            and all(hashes.get(run, "").startswith(sha) for run, sha in record["runs"].items())
        ]
    if part == "tables" and not matching:
        raise UserError(f"no tables in {results}/tables: run the study first")
    return matching


def _of_table(stem: Path, record: dict[str, Any], measures: Frames) -> list[str]:
    """Return the differences between a table's three files and the recomputed table."""
    path = stem.with_suffix(".csv")
    steps = stem.parent.parent / "overhead" / path.name
    try:
        recomputed = make_table(record, Inputs(lambda: measures[""].set_index("run"), steps))
    except UserError as error:
        return [str(error)]
    differing = _differences(path, parse_table(path, _content(path)), recomputed)
    for suffix, text in (
        (".md", to_markdown(record, recomputed)),
        (".tex", to_latex(record, recomputed)),
    ):
        path = stem.with_suffix(suffix)
        if _content(path) != text.encode():
            differing.append(f"{path}: differs from the recomputed text")
    log.info("%s.csv: %d cells recomputed", stem, len(recomputed))
    return differing


def _of_figure(stem: Path, record: dict[str, Any], measures: Frames) -> list[str]:
    """Return the differences between a figure's CSV and the recomputed numbers."""
    path = stem.with_suffix(".csv")
    runs, epochs, reliability = measures.values()
    _, recomputed = make_figure(record, Measured(runs.set_index("run"), epochs, reliability))
    log.info("%s: %d values recomputed", path, len(recomputed))
    return _differences(path, _parsed(path, ("runs",)), recomputed) + _of_drawings(stem)


def _of_drawings(stem: Path) -> list[str]:
    """Return one line per drawing that its figure's list of hashes does not have."""
    differing = []
    for suffix in (".png", ".pdf", ".svg"):
        try:
            read_listed(stem.with_suffix(suffix), stem.with_suffix(".png"))
        except Damaged as damage:
            differing.append(str(damage))
    return differing


def _of_runs(stem: Path, record: dict[str, Any], measures: Frames) -> list[str]:
    """Return the differences between `runs.csv` and the recomputed table."""
    path = stem.with_suffix(".csv")
    recomputed = runs_table(record, measures[""].set_index("run"))
    log.info("%s: %d runs recomputed", path, len(recomputed))
    return _differences(path, _parsed(path, ("run",)), recomputed)


def _content(path: Path) -> bytes:
    """Return the content of a result, also of a changed one; empty if there is no such file."""
    return files.read_bytes(path, "the result", missing_ok=True) or b""


def _parsed(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    return parse_csv(path, _content(path), columns)


def _differences(where: Path, known: pd.DataFrame, recomputed: pd.DataFrame) -> list[str]:
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
