"""`soteacher page`, run by the rule `page`."""

from __future__ import annotations

import argparse
from pathlib import Path

from soteacher.cli.arguments import add_output

HELP = "Make the HTML page of a study."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("--summary", type=Path, required=True, help="texts of the page, JSON")
    command.add_argument(
        "--tables", type=Path, nargs="+", required=True, help="CSV files of the tables"
    )
    command.add_argument(
        "--figures",
        type=Path,
        nargs="*",
        default=[],
        help="PNG files of the figures; the CSV file of each must be in the same folder",
    )
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    from soteacher.core import files
    from soteacher.core.hash_list import read_listed
    from soteacher.report.csv_files import read_csv
    from soteacher.report.page import make_page
    from soteacher.report.tables import read_table
    from soteacher.study.requests import read_request

    tables = {path.stem: read_table(path) for path in options.tables}
    figures = {
        path.stem: (
            read_listed(path),
            read_csv(path.with_suffix(".csv"), ("runs", "trained_on"), path),
        )
        for path in options.figures
    }
    summary = read_request(options.summary, "the texts of the page")
    files.write(options.out, make_page(summary, tables, figures))
