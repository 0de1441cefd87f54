"""Every number of a study's tables and figures made again from the records of its runs."""

from __future__ import annotations

import logging
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from soteacher import files
from soteacher.data.prepared import Prepared, open_prepared
from soteacher.errors import UserError
from soteacher.measures.collect import COLUMNS, EPOCHS, RELIABILITY, measure
from soteacher.report.figures import make_figure
from soteacher.report.tables import make_table, read_csv, read_table, to_latex, to_markdown
from soteacher.study.describe import table_block
from soteacher.study.plan import Plan
from soteacher.training.store import RunFolder

log = logging.getLogger("soteacher")

EXACT = 1e-9
"""Relative difference that another machine's sums may make."""


def verify(results: Path, store: Path, plan: Plan | None = None) -> list[str]:
    """Recompute all that `results` holds from the runs in the store; return what differs, in words.

    Every file of every run is compared with its hash in the job's manifest, every prepared array
    with its own; measures are made anew from those files, CSVs of tables and figures from the
    measures. What a table or figure should show is read from its own CSV; with a plan, each table,
    its Markdown and its LaTeX must be those that the plan asks for, none missing.
    """
    if not (results / "runs").is_dir():
        raise UserError(f"no results in {results}: expected the results/<study> of a study")
    data = {path.stem: open_prepared(path, store) for path in sorted(results.glob("data/*.json"))}
    for prepared in data.values():
        prepared.check()
    frames: dict[str, list[pd.DataFrame]] = {"": [], ".epochs": [], ".reliability": []}
    differing = []
    manifests = sorted(results.glob("runs/*/*.json"))
    for path in manifests:
        made = _measured(files.read_json(path, "the manifest"), data, store)
        for kind, frame in made.items():
            frames[kind].append(frame)
            known = results / "measures" / path.parent.name / f"{path.stem}{kind}.csv"
            if known.is_file():
                differing += _differences(str(known), read_csv(known, ("run",)), frame)
    log.info("%s: all files of the runs in %d manifests are as recorded", results, len(manifests))
    runs, epochs, reliability = (pd.concat(found, ignore_index=True) for found in frames.values())
    measures = runs.set_index("run")
    tables = sorted(results.glob("tables/*.csv"))
    for path in tables:
        table = read_table(path)
        differing += _differences(str(path), table, make_table(_table_block(path, table), measures))
        log.info("%s: %d cells made again", path, len(table))
    for path in sorted(results.glob("figures/*.csv")):
        drawn = read_csv(path, ("panel", "n_planned", "runs"))
        _, again = make_figure(_figure_block(path, drawn), measures, epochs, reliability)
        # of runs that did not finish, a figure keeps the number alone
        counted = [column for column in drawn.columns if column != "n_planned"]
        differing += _differences(str(path), drawn[counted], again[counted])
        log.info("%s: %d values made again", path, len(drawn))
    if plan is not None:
        for name in plan.tables:
            differing += _not_as_planned(results, table_block(plan, name), measures)
    if not tables:
        raise UserError(f"no tables in {results}/tables: run the study first")
    return differing


def _measured(
    manifest: dict[str, Any], data: dict[str, Prepared], store: Path
) -> dict[str, pd.DataFrame]:
    names = set()
    for run_id, entry in manifest["runs"].items():
        names.add(run_id.partition("/")[0])
        folder = RunFolder(store, entry["fingerprint"], run_id)
        for name, sha256 in entry["artifacts"].items():
            files.checked(folder.path / name, sha256, f"{name} of {run_id}")
    [name] = names
    if name not in data:
        raise UserError(f"the data manifest of '{name}' is missing, but runs on it are recorded")
    found = measure(manifest, data[name], store)
    return {
        "": pd.DataFrame(found.runs, columns=COLUMNS),
        ".epochs": pd.DataFrame(found.epochs, columns=EPOCHS),
        ".reliability": pd.DataFrame(found.reliability, columns=RELIABILITY),
    }


def _not_as_planned(results: Path, block: dict[str, Any], measures: pd.DataFrame) -> list[str]:
    """What of a table's three files is not what the study asks for."""
    stem = results / "tables" / block["table"]
    lacking = [run for run in block["runs"] if run not in measures.index]
    if lacking or not stem.with_suffix(".csv").is_file():
        return [f"{stem}.csv: missing, or made without {lacking[0] if lacking else 'its file'}"]
    again = make_table(block, measures)
    found = _differences(f"{stem}.csv", read_table(stem.with_suffix(".csv")), again)
    for suffix, text in ((".md", to_markdown(block, again)), (".tex", to_latex(block, again))):
        path = stem.with_suffix(suffix)
        if not path.is_file() or path.read_text() != text:
            found.append(f"{path}: is not what the records give")
    return found


def _table_block(path: Path, table: pd.DataFrame) -> dict[str, Any]:
    cells = table[["row", "column", "measure", "role", "papers"]].to_dict("records")
    for cell, runs in zip(cells, table["runs"], strict=True):
        cell["runs"] = runs.split()
    return {"table": path.stem, "cells": cells}


def _figure_block(path: Path, drawn: pd.DataFrame) -> dict[str, Any]:
    """What a figure was asked to show, read back from the numbers that it drew."""
    parts: dict[tuple[Any, ...], dict[str, Any]] = {}
    kind = "reliability"
    for row in drawn.fillna({"runs": ""}).to_dict("records"):
        part = {"panel": row["panel"], "series": row.get("series", "")}
        runs = row["runs"].split()
        if "role" in row:
            kind = "checkpoints"
            part["epoch"] = row["epoch"]
            found = parts.setdefault((row["panel"], part["series"], row["epoch"]), part)
            found[f"{row['role']}s"] = runs
        else:
            kind = "curves" if "split" in row else kind
            parts.setdefault((row["panel"], part["series"]), part | {"runs": runs})
    return {"figure": path.stem, "kind": kind, "title": "", "parts": list(parts.values())}


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
