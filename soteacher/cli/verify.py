"""`soteacher verify`: recompute a study's results from its stored runs, and compare."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from soteacher.cli.arguments import STUDY_HELP, add_store, plan_of
from soteacher.core.errors import UserError

HELP = "Recompute all results from the stored runs and report differences."
DESCRIPTION = (
    "Recompute all results from the stored runs and report differences. Measures, tables, the CSV "
    "files of figures and runs.csv are compared; pictures and the page are not."
)

log = logging.getLogger("soteacher")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("results", type=Path, help="folder of the results, results/<study>")
    add_store(command)
    command.add_argument(
        "--study",
        type=Path,
        nargs="+",
        help=f"{STUDY_HELP}; with it, also check that the results are those of the study",
    )


def run(options: argparse.Namespace) -> None:
    """Log each difference; a difference is an error."""
    from soteacher.report.drawing.agg import import_matplotlib

    import_matplotlib()  # figures are drawn again, and not kept

    from soteacher.results.verify import verify

    plan = plan_of(options.study) if options.study else None
    lines = verify(options.results, options.store, plan)
    for line in lines:
        log.error("%s", line)
    if lines:
        differences = "difference" if len(lines) == 1 else "differences"
        raise UserError(
            f"{len(lines)} {differences} between the results and the records of the runs"
        )
    log.info("all results agree with the records of their runs")
    if plan is None:
        log.info(
            "not checked: whether these are the tables and figures of the study; add --study to "
            "check it"
        )
