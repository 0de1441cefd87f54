"""`soteacher verify`: compare a study's results with what its stored runs give."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from soteacher.cli.arguments import STUDY_HELP, add_store, plan_of
from soteacher.core.errors import UserError

HELP = "Recompute all results from the stored runs and report differences."
DESCRIPTION = (
    "Recompute all results from the stored runs and report differences. Measures, tables and the "
    "CSV files of figures are compared; pictures and the page are not."
)

log = logging.getLogger("soteacher")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("results", type=Path, help="results/<study>")
    add_store(command)
    command.add_argument(
        "--study",
        type=Path,
        nargs="+",
        help=f"{STUDY_HELP}; with it, check that the results are the ones that the study asks for",
    )


def run(options: argparse.Namespace) -> None:
    """Log each difference; a difference is an error."""
    from soteacher.results.verify import verify

    plan = plan_of(options.study) if options.study else None
    differing = verify(options.results, options.store, plan)
    for line in differing:
        log.error("%s", line)
    if differing:
        differences = "difference" if len(differing) == 1 else "differences"
        raise UserError(f"{len(differing)} {differences} from what the records of the runs give")
    log.info("all values are what the records of their runs give")
    if plan is None:
        log.info(
            "without --study, it was not checked whether the study still asks for these tables "
            "and figures"
        )
