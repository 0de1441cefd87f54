"""`soteacher figure`, run by the rule `figure`."""

from __future__ import annotations

import argparse
from pathlib import Path

from soteacher.cli.arguments import add_output

HELP = "Make one figure, as PNG, PDF and SVG, and the CSV with its numbers."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "--block", type=Path, required=True, help="description of the figure, JSON"
    )
    command.add_argument(
        "--measures",
        type=Path,
        required=True,
        help="JSON list of measures CSVs; the matching .epochs.csv, .reliability.csv, "
        ".disagreement.csv and .sha256 must be in the same folder",
    )
    command.add_argument("--pdf", type=Path, required=True, help="PDF file to write")
    command.add_argument("--svg", type=Path, required=True, help="SVG file to write")
    command.add_argument("--csv", type=Path, required=True, help="CSV file to write")
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the figure as PNG, PDF and SVG, its numbers as CSV, and the list of their hashes."""
    from soteacher.report.drawing.agg import import_matplotlib

    import_matplotlib()

    import pandas as pd

    from soteacher.core import files
    from soteacher.core.hash_list import write_hash_list
    from soteacher.report.csv_files import read_csv, read_measures
    from soteacher.report.figures import make_figure, make_svg, save
    from soteacher.report.figures.base import Measured
    from soteacher.study.requests import read_request

    record = read_request(options.block, "the description of the figure")
    measures = [Path(path) for path in read_request(options.measures, "the list of measures")]
    runs = read_measures(measures, record["runs"])
    more = (
        pd.concat([read_csv(path.with_suffix(kind), ("run",), path) for path in measures])
        for kind in (".epochs.csv", ".reliability.csv", ".disagreement.csv")
    )
    figure, drawn = make_figure(record, Measured(runs, *more))
    files.write(options.csv, drawn.to_csv(index=False))
    files.write(options.svg, make_svg(record, drawn))
    save(figure, options.pdf)
    save(figure, options.out)
    write_hash_list(options.out, (options.pdf, options.svg, options.csv))
