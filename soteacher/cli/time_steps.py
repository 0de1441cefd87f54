"""`soteacher time-steps`, run by the rule `time_steps`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from soteacher.cli.arguments import add_output, add_training, job_options

HELP = "Time training steps of teacher methods; train no run."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("--block", type=Path, required=True, help="what to time, JSON")
    command.add_argument(
        "--data", type=Path, nargs="+", required=True, help="manifests, <data set>.json"
    )
    add_training(command)
    add_output(command)


def run(options: argparse.Namespace) -> None:
    """Write the time of each step, and beside it what is known of each method."""
    import pandas as pd

    from soteacher.core import files
    from soteacher.data.prepared import open_prepared
    from soteacher.study.method_files import load_methods

    of_job = job_options(options, save_every=math.inf)
    of_job.choose_gpu()  # before torch is imported
    from soteacher.training.step_timing import time_steps

    load_methods(options.methods)
    request = files.read_json(options.block, "what to time")
    data = {path.stem: open_prepared(path, options.store) for path in options.data}
    steps, methods = time_steps(request, data, of_job)
    beside = options.out.with_suffix(".methods.csv")
    files.write(beside, pd.DataFrame(methods).to_csv(index=False))
    files.write(options.out, pd.DataFrame(steps).to_csv(index=False))
