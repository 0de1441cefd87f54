"""`soteacher table`, run by the rule `table`."""

from __future__ import annotations

import argparse
from pathlib import Path

from soteacher.cli.arguments import add_output

HELP = "Make one table, as CSV, Markdown and LaTeX."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("--block", type=Path, required=True, help="description of the table, JSON")
    command.add_argument(
        "--measures", type=Path, required=True, help="JSON list of the table's measures CSVs"
    )
    command.add_argument(
        "--steps",
        type=Path,
        nargs="*",
        default=[],
        help="for a table of step times, the CSV of steps and the CSV of methods",
    )
    command.add_argument("--markdown", type=Path, required=True, help="Markdown file to write")
    command.add_argument("--latex", type=Path, required=True, help="LaTeX file to write")
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the table as CSV, Markdown and LaTeX, and the list of their hashes."""
    from soteacher.core import files
    from soteacher.core.hash_list import write_hash_list
    from soteacher.report.csv_files import read_measures
    from soteacher.report.latex import to_latex
    from soteacher.report.markdown import to_markdown
    from soteacher.report.tables import make_table
    from soteacher.report.tables.base import Inputs
    from soteacher.study.requests import read_request

    record = read_request(options.block, "the description of the table")
    measures = [Path(path) for path in read_request(options.measures, "the list of measures")]
    inputs = Inputs(
        measures=lambda: read_measures(measures, record["runs"]),
        steps=next(iter(options.steps), None),
    )
    table = make_table(record, inputs)
    files.write(options.markdown, to_markdown(record, table))
    files.write(options.latex, to_latex(record, table))
    files.write(options.out, table.to_csv(index=False))
    write_hash_list(options.out, (options.markdown, options.latex))
