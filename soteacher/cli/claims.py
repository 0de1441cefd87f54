"""`soteacher claims`, run by the rule `claims`."""

from __future__ import annotations

import argparse
from pathlib import Path

from soteacher.cli.arguments import add_output

HELP = "Compare methods, and say which claims of the paper hold in a study."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "--record", type=Path, required=True, help="what the methods of the study are, JSON"
    )
    command.add_argument("--runs", type=Path, required=True, help="CSV file of the study's runs")
    command.add_argument(
        "--steps", type=Path, nargs="*", default=[], help="CSV files of timed training steps"
    )
    command.add_argument(
        "--comparisons",
        type=Path,
        required=True,
        help="CSV file to write, every method against the reference",
    )
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the CSV files of claims and of comparisons, and the list of their hashes."""
    from soteacher.claims.every_method import make_comparisons
    from soteacher.claims.inputs import read_study
    from soteacher.claims.table import make_claims
    from soteacher.core import files
    from soteacher.core.hash_list import write_hash_list
    from soteacher.study.requests import read_request

    record = read_request(options.record, "the record of the study's methods")
    study = read_study(record, options.runs, options.steps)
    files.write(options.comparisons, make_comparisons(study).to_csv(index=False))
    files.write(options.out, make_claims(study).to_csv(index=False))
    write_hash_list(options.out, (options.comparisons,))
