"""`soteacher runs`, run by the rule `runs`."""

from __future__ import annotations

import argparse
from pathlib import Path

from soteacher.cli.arguments import add_output

HELP = "Make the CSV file of all runs of a study, with their measures."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("--runs", type=Path, required=True, help="JSON file with the study's runs")
    command.add_argument(
        "--measures", type=Path, required=True, help="JSON file with the list of measures CSV files"
    )
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the CSV file, and the list of its hash."""
    import pandas as pd

    from soteacher.core import files
    from soteacher.core.hash_list import write_hash_list
    from soteacher.report.csv_files import read_measures
    from soteacher.results.columns import COLUMNS
    from soteacher.results.runs_table import runs_table
    from soteacher.study.requests import read_request

    record = read_request(options.runs, "the list of runs")
    paths = [Path(path) for path in read_request(options.measures, "the list of measures")]
    if paths:
        measures = read_measures(paths, record["runs"], as_text=True)  # with every digit
    else:  # a study can need no runs
        measures = pd.DataFrame(columns=COLUMNS).set_index("run")
    files.write(options.out, runs_table(record, measures).to_csv(index=False))
    write_hash_list(options.out)
