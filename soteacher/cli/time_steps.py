"""`soteacher time-steps`, run by the rule `time_steps`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from soteacher.cli.arguments import add_output, add_training, job_options
from soteacher.cli.attempts import attempt

HELP = "Time training steps of teacher methods, without training a run."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "--block", type=Path, required=True, help="JSON file with the networks and methods to time"
    )
    command.add_argument(
        "--data", type=Path, nargs="+", required=True, help="manifests of the data, <name>.json"
    )
    add_training(command)
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the time of each step, and the facts about each method in a second file."""
    with attempt(options.attempt, options.log):
        _run(options)


def _run(options: argparse.Namespace) -> None:
    import pandas as pd

    from soteacher.core import files
    from soteacher.core.hash_list import write_hash_list
    from soteacher.data.prepared import open_prepared
    from soteacher.study.method_files import load_methods
    from soteacher.study.network_files import load_networks
    from soteacher.study.requests import read_request

    training_options = job_options(options, save_every=math.inf)
    training_options.choose_gpu()  # before torch is imported
    from soteacher.training.step_timing import time_steps

    load_methods(options.methods)
    load_networks(options.networks)
    request = read_request(options.block, "the list of methods to time")
    data = {path.stem: open_prepared(path, options.store) for path in options.data}
    steps, methods = time_steps(request, data, training_options)
    methods_file = options.out.with_suffix(".methods.csv")
    files.write(methods_file, pd.DataFrame(methods).to_csv(index=False))
    files.write(options.out, pd.DataFrame(steps).to_csv(index=False))
    write_hash_list(options.out, (methods_file,))
