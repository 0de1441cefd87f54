"""`soteacher prepare`, run by the rule `prepare`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from soteacher.cli.arguments import add_output

HELP = "Prepare the arrays of a data set and write them to the store."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "--spec", type=json.loads, required=True, help="spec of the data set, as JSON"
    )
    command.add_argument(
        "--location", type=json.loads, default={}, help="location of the images, as JSON"
    )
    command.add_argument("--store", type=Path, required=True, help="folder of the trained runs")
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the manifest of the prepared data."""
    from soteacher.core.sealed import write_sealed
    from soteacher.data.prepared import prepare
    from soteacher.data.spec import DataSpec

    spec = DataSpec.from_json(options.spec)
    write_sealed(options.out, prepare(spec, options.store, options.location))
