"""Recompute the measures, tables, figures, runs and claims of a study from the stored runs."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pandas as pd

from soteacher.core import files
from soteacher.core.errors import Damaged, UserError
from soteacher.data.prepared import open_prepared
from soteacher.results.collect import check_planned, measure
from soteacher.results.columns import TIDY
from soteacher.results.recomputed import (
    MISSING,
    Frames,
    measure_files,
    of_claims,
    of_figure,
    of_measures,
    of_runs,
    of_table,
)
from soteacher.store.forms import read_manifest
from soteacher.store.run_folder import RunFolder
from soteacher.study.claims_record import CLAIMS_FORMAT, claims_record
from soteacher.study.plan import Plan
from soteacher.study.requests import read_request
from soteacher.study.run_table import RUNS_FORMAT, runs_record
from soteacher.study.summary import RECORD_FORMAT, block_record, planned

log = logging.getLogger("soteacher")

REQUESTS = "asked"
"""The folder of the request files, in which the workflow describes each table and figure."""
PARTS = {"tables": of_table, "figures": of_figure}
"""The folders in `results` with recomputed files, to the functions that recompute them."""
FILES = {
    "runs": (RUNS_FORMAT, runs_record, of_runs),
    "claims": (CLAIMS_FORMAT, claims_record, of_claims),
}
"""The recomputed files in no such folder: the version of their record's format, and functions that
return the record and recompute the file."""
HASH = "[0-9a-f]" * 16
"""The pattern of the hash at the end of their names."""

Manifests = dict[Path, dict[str, Any]]


def verify(results: Path, store: Path, plan: Plan | None = None) -> list[str]:
    """Recompute the files in `results` from the stored runs; return the differences, in words.

    Every file of every run is compared with its hash in the job's manifest, and every prepared
    array with its hash. Measures are recomputed from these files. Each table (CSV, Markdown,
    LaTeX), the CSV of each figure, `runs.csv` and the claims are recomputed from the measures. The
    drawings of a figure (PNG, PDF, SVG) are compared with its list of hashes; the page is not
    compared. Training steps are not timed again: their table is recomputed from the stored times.

    With a plan, all manifests, tables and figures of the plan must exist; other files in `results`
    are skipped. Without a plan, all tables and figures that exist are compared with the request
    files of the workflow; damaged ones are left out with a warning. `runs.csv`, `claims.csv` and
    `comparisons.csv` are compared if they exist: the target of a single table does not make them.
    """
    manifests = _manifests(results, plan)
    entries = _entries(manifests)
    measures = _measured(entries, results / "data", store)
    log.info("%s: all files of %d runs match their hashes", results, len(entries))
    hashes = dict(zip(measures[""]["run"], measures[""]["spec_sha256"], strict=True))
    shown = [
        (results / part / name, compare, records)
        for part, compare in PARTS.items()
        for name, records in _blocks(results, part, plan, hashes).items()
    ]
    for name, (version, record_of, compare) in FILES.items():
        if (results / f"{name}.csv").is_file():
            records = [record_of(plan)] if plan else _requested(results, name, version, hashes)
            shown.append((results / name, compare, records))
    needed = {run for _, _, records in shown for record in records for run in record["runs"]}
    differing = _of_links(results, entries)
    differing += of_measures(measure_files(results / "measures", plan), measures, needed)
    for stem, compare, records in shown:
        path = stem.with_suffix(".csv")
        if not records:
            differing.append(
                f"{path}: no file in {results / REQUESTS} describes it for these runs; "
                "pass the study file with --study"
            )
        elif not path.is_file():
            differing.append(f"{path}: {MISSING}")
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
    frames: dict[str, list[pd.DataFrame]] = {kind: [] for kind in TIDY}
    for data in sorted({run_id.partition("/")[0] for run_id in entries}):
        prepared = open_prepared(manifests / f"{data}.json", store)
        prepared.check()
        runs = {run_id: run for run_id, run in entries.items() if run_id.partition("/")[0] == data}
        for run_id, entry in runs.items():
            folder = RunFolder(store, entry["fingerprint"], run_id)
            for name, sha256 in entry["artifacts"].items():
                files.checked(folder.path / name, sha256, f"{name} of {run_id}")
        measured = measure(runs, prepared, store)
        for (kind, columns), rows in zip(TIDY.items(), vars(measured).values(), strict=True):
            frames[kind].append(pd.DataFrame(rows, columns=columns))
    return {
        kind: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TIDY[kind])
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


def _blocks(
    results: Path, part: str, plan: Plan | None, hashes: dict[str, str]
) -> dict[str, list[dict[str, Any]]]:
    """Return name to the records of each table or figure, from the plan or the request files."""
    existing = [path.stem for path in sorted((results / part).glob("*.csv"))]
    if plan is not None:
        records = {name: [block_record(plan, name)] for name in getattr(plan.study, part)}
        for name in existing:
            if name not in records:
                log.info("%s: skipped, the study has no such block", results / part / name)
        return records
    if part == "tables" and not existing:
        raise UserError(f"no tables in {results}/tables: run the study first")
    return {name: _requested(results, name, RECORD_FORMAT, hashes) for name in existing}


def _requested(
    results: Path, name: str, version: int, hashes: dict[str, str]
) -> list[dict[str, Any]]:
    """Return the records of a file in the request files.

    Request files remain after a study changes. Those with other runs or of another version are
    skipped.

    hashes : run id to the hash of the run's spec.
    """
    records = []
    for path in sorted((results / REQUESTS).glob(f"{name}-{HASH}.json")):
        try:
            records.append(read_request(path, f"what {name} shows"))
        except Damaged as damage:  # it may be of an earlier version of the study
            log.warning("%s", damage)
    return [
        record
        for record in records
        if record.get("format") == version
        and all(hashes.get(run, "").startswith(sha) for run, sha in record["runs"].items())
    ]
