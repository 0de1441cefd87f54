"""The check of study files before Snakemake reads them; the profiles call it (profiles/default)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from soteacher.core.errors import UserError, short
from soteacher.study.load import load
from soteacher.study.study_file import values_of


def end_if_unreadable(
    files: Iterable[str | Path] | None, snakemake_reader: Callable[[Path], object]
) -> None:
    """End the process with one line, and code 2, if a file after `--configfile` cannot be read.

    Snakemake reads these files before the workflow. If its reader fails, it ends with a traceback,
    or with a text that does not say where in the file the problem is.
    """
    paths = [Path(file) for file in files or ()]
    try:
        for path in paths:
            values_of(path)
        for path in paths:
            try:
                snakemake_reader(path)
            except Exception as error:  # of the file: its text is a date or number of YAML 1.1
                load(*paths)  # says which key has it, if a study cannot have it there
                problem = short(" ".join(str(error).split()), 300)
                raise UserError(
                    f"{path}: Snakemake cannot read it ({problem}); expected texts that look like "
                    "dates or numbers in quotes: add the quotes"
                ) from None
    except UserError as error:
        print(f"soteacher: error: {error}", file=sys.stderr)
        sys.exit(2)
