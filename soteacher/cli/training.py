"""The common code of the commands `teach` and `distill`, which train and publish a job's runs."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from soteacher.cli.arguments import RESULTS, add_output, add_training, job_options
from soteacher.cli.attempts import attempt

log = logging.getLogger("soteacher")

LOGGERS = ("tensorboard", "wandb")
"""Names of the loggers, as in studies; they are in `soteacher/training/loggers.py`."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of a job."""
    command.add_argument("--runs", type=Path, required=True, help="list of the runs to train, JSON")
    command.add_argument("--data", type=Path, required=True, help="manifest of the prepared data")
    command.add_argument(
        "--teachers", type=Path, nargs="*", default=[], help="manifests of the teachers"
    )
    command.add_argument("--links", type=Path, required=True, help="folder of links to the runs")
    command.add_argument(
        "--job", default="1 of 1", help="number of the job, for the log, such as 2 of 5"
    )
    command.add_argument(
        "--save-every", type=float, default=60.0, help="seconds between saved states"
    )
    command.add_argument(
        "--loggers",
        nargs="*",
        choices=LOGGERS,
        default=[],
        help="what the runs are logged with while they train",
    )
    command.add_argument(
        "--results", type=Path, default=RESULTS, help="folder into which loggers write"
    )
    add_training(command)
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Train the runs that the store lacks, then write the manifest and the links."""
    with attempt(options.attempt, options.log):
        _run(options)


def _run(options: argparse.Namespace) -> None:
    from soteacher.data.prepared import open_prepared
    from soteacher.store.forms import read_manifest
    from soteacher.study.method_files import load_methods
    from soteacher.study.network_files import load_networks
    from soteacher.study.requests import read_request
    from soteacher.training.job import publish, run_job

    load_methods(options.methods)
    load_networks(options.networks)
    teachers: dict[str, Any] = {}
    for path in options.teachers:
        teachers |= read_manifest(path, "the teachers' manifest")["runs"]
    data = open_prepared(options.data, options.store)
    runs = read_request(options.runs, "the list of runs to train")
    log.debug("job of %s: %s", options.job, ", ".join(sorted(runs)))
    how = job_options(options, options.save_every, options.loggers, options.results)
    manifest = run_job(runs, data, teachers, how)
    publish(manifest, options.out, options.links, options.store)
