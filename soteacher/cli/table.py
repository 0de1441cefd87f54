"""`soteacher table`, run by the rule `table`."""

from __future__ import annotations

import argparse
from pathlib import Path

from soteacher.cli.arguments import add_output

HELP = "Make one table, as CSV, Markdown and LaTeX."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("--block", type=Path, required=True, help="what the table shows, JSON")
    command.add_argument(
        "--measures",
        type=Path,
        nargs="*",
        required=True,
        help="measures CSVs; or, for a table of step times, the CSV of steps and that of methods",
    )
    command.add_argument("--markdown", type=Path, required=True)
    command.add_argument("--latex", type=Path, required=True)
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the three forms of the table."""
    from soteacher.core import files
    from soteacher.report.tables.make import make
    from soteacher.report.tables.tables import read_measures, to_latex, to_markdown

    block = files.read_json(options.block, "what the table shows")
    table = make(
        block,
        measures=lambda: read_measures(options.measures, block["runs"]),
        steps=next(iter(options.measures), options.out),  # weights need neither
    )
    files.write(options.markdown, to_markdown(block, table))
    files.write(options.latex, to_latex(block, table))
    files.write(options.out, table.to_csv(index=False))
