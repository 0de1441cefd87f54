"""`soteacher measure`, run by the rule `measure`."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import Any

from soteacher.cli.arguments import add_output

HELP = "Measure the runs of jobs and write the measures to CSV files."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "--runs", type=Path, nargs="+", required=True, help="JSON file with a job's runs, for each"
    )
    command.add_argument(
        "--manifests", type=Path, nargs="+", required=True, help="manifest of each of these jobs"
    )
    command.add_argument("--data", type=Path, required=True, help="manifest of the prepared data")
    command.add_argument(
        "--epochs", type=Path, required=True, help="CSV file to write, one line per epoch"
    )
    command.add_argument(
        "--reliability", type=Path, required=True, help="CSV file to write, one line per bin"
    )
    command.add_argument(
        "--disagreement",
        type=Path,
        required=True,
        help="CSV file to write, one line per tenth of the training images",
    )
    command.add_argument("--store", type=Path, required=True, help="folder of the trained runs")
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the four tidy CSV files of the jobs, and the list of their hashes."""
    from soteacher.core import files
    from soteacher.core.errors import UserError
    from soteacher.core.hash_list import write_hash_list
    from soteacher.core.hashing import json_sha256
    from soteacher.data.prepared import open_prepared
    from soteacher.results.collect import check_planned, measure
    from soteacher.results.columns import COLUMNS, DISAGREEMENT, EPOCHS, RELIABILITY
    from soteacher.store.forms import read_manifest
    from soteacher.study.requests import read_request

    if len(options.runs) != len(options.manifests):
        raise UserError(
            f"--runs has {len(options.runs)} files and --manifests {len(options.manifests)}; give "
            "one of each for each job, in the same order"
        )
    entries: dict[str, dict[str, Any]] = {}
    for request, path in zip(options.runs, options.manifests, strict=True):
        manifest = read_manifest(path, "the manifest")
        runs = read_request(request, "the list of trained runs")
        planned = {name: json_sha256(run["spec"]) for name, run in runs.items()}
        check_planned(path, manifest, planned)
        entries |= manifest["runs"]
    measured = measure(entries, open_prepared(options.data, options.store), options.store)
    for path, columns, rows in (
        (options.epochs, EPOCHS, measured.epochs),
        (options.reliability, RELIABILITY, measured.reliability),
        (options.disagreement, DISAGREEMENT, measured.disagreement),
        (options.out, COLUMNS, measured.runs),
    ):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files.write(path, text.getvalue())
    write_hash_list(options.out, (options.epochs, options.reliability, options.disagreement))
