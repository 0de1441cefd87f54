"""`python -m bench`: measure rows, write the CSV files, and the page from them.

Without `--only`, it measures all rows but the long ones. Rows of the CSV files that are not
measured stay as they are.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import pandas as pd

from bench.measure import measure, together
from bench.page import make_page
from bench.rows import LONG, MINUTES, ROWS
from soteacher.core import files
from soteacher.core.errors import UserError, unknown

OUT = Path("docs/benchmarks.csv")


def main(arguments: list[str]) -> None:
    """Run the command."""
    command = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    command.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help="about how long to measure; the page says so if it is less than the default",
    )
    command.add_argument(
        "--only", nargs="+", metavar="KEY", help="measure only these rows, also long ones"
    )
    command.add_argument("--out", type=Path, default=OUT, help="CSV file to write, or to read")
    command.add_argument(
        "--page-only", action="store_true", help="write the page again from the CSV files"
    )
    options = command.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("bench").setLevel(logging.INFO)
    profiles = options.out.with_suffix(".profile.csv")
    if not options.page_only:
        known = {row.key: row for row in (*ROWS, *LONG)}
        for key in options.only or ():
            if key not in known:
                raise UserError(unknown("row", key, known))
        rows = [known[key] for key in options.only] if options.only else list(ROWS)
        results, operations = measure(rows, options.minutes, {})
        if options.out.is_file() and profiles.is_file():
            before, operations_before = pd.read_csv(options.out), pd.read_csv(profiles)
            # what missed its goal before may not miss it now, and has no profile then
            operations_before = operations_before[~operations_before["key"].isin(results["key"])]
            results = together(before, results, list(known))
            operations = together(operations_before, operations, list(known))
        files.write(options.out, results.to_csv(index=False))
        files.write(profiles, operations.to_csv(index=False))
    elif not (options.out.is_file() and profiles.is_file()):
        raise UserError(f"{options.out} or {profiles} does not exist: run `make bench` first")
    # the page is written from what is in the files, so that it can be written again
    page = make_page(pd.read_csv(options.out), pd.read_csv(profiles))
    files.write(options.out.with_suffix(".md"), page)
    print(f"The page to read: {options.out.with_suffix('.md').absolute()}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        sys.exit(2)
