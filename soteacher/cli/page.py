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
        help="PNG files of the figures; the SVG and CSV file of each must be in the same folder",
    )
    command.add_argument(
        "--claims", type=Path, help="CSV file of the verdicts on the paper's claims"
    )
    command.add_argument(
        "--comparisons",
        type=Path,
        help="CSV file of the differences between methods, made together with --claims",
    )
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the page."""
    from datetime import UTC, datetime

    from soteacher.core import files
    from soteacher.core.errors import UserError
    from soteacher.core.hash_list import read_listed
    from soteacher.report.csv_files import read_csv
    from soteacher.report.page import make_page
    from soteacher.report.page.verdicts import read_verdicts
    from soteacher.report.tables import read_table
    from soteacher.study.requests import read_request

    if (options.claims is None) != (options.comparisons is None):
        raise UserError(
            "got only one of --claims and --comparisons; give both files of `soteacher claims`, or "
            "neither for a page without verdicts"
        )
    tables = {path.stem: read_table(path) for path in options.tables}
    figures = {
        path.stem: (
            read_listed(path.with_suffix(".svg"), path),
            read_csv(path.with_suffix(".csv"), ("runs", "trained_on"), path),
        )
        for path in options.figures
    }
    verdicts = None
    if options.claims is not None:
        verdicts = read_verdicts(options.claims, options.comparisons)
    newest = max(path.stat().st_mtime for path in (*options.tables, *options.figures))
    page = make_page(
        read_request(options.summary, "the texts of the page"),
        tables,
        figures,
        verdicts,
        dated=datetime.fromtimestamp(newest, UTC).date(),
        place=f"{options.out.absolute().parent.name}/{options.out.name}",
    )
    files.write(options.out, page)
