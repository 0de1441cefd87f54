"""Arguments that several commands share, and functions that use them."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from soteacher.study.plan import Plan
    from soteacher.training.members import JobOptions

log = logging.getLogger("soteacher")

RESULTS = Path("results")
STORE = RESULTS / "store"
"""The store of a study without the key `store`."""
STUDY_HELP = "study file, then override files (later files win)"


def add_study(command: argparse.ArgumentParser) -> None:
    """Add the study file and its override files, as positional arguments."""
    command.add_argument("study", type=Path, nargs="+", help=STUDY_HELP)


def plan_of(files: list[Path], only: list[str] | None = None, seeds: int | None = None) -> Plan:
    """Return the plan of a study file and its override files.

    only : names of the tables and figures to plan; None: all of them.
    seeds : number of seeds of every table and figure; None: those of the study.
    """
    from soteacher.study.expand import expand, expand_possible
    from soteacher.study.load import load
    from soteacher.study.more_seeds import with_seeds

    study = load(*files)
    if seeds is not None:
        study = with_seeds(study, seeds)
    return expand(study) if only is None else expand_possible(study).only(only)


def possible_plan_of(files: list[Path]) -> Plan:
    """Return the plan of the tables and figures that are possible, and name the others in the log.

    Commands that show what was trained need no more.
    """
    from soteacher.study.expand import expand_possible
    from soteacher.study.load import load

    plan = expand_possible(load(*files))
    for name, reason in plan.impossible.items():
        log.warning("soteacher: %s is left out, because it is impossible: %s", name, reason)
    return plan


def add_store(command: argparse.ArgumentParser) -> None:
    """Add the store, with the same default as in study files."""
    command.add_argument("--store", type=Path, default=STORE, help="folder of the trained runs")


def add_yes(command: argparse.ArgumentParser) -> None:
    """Add the confirmation of a deletion."""
    command.add_argument(
        "--yes", action="store_true", help="delete; without it, list what would be deleted"
    )


def add_output(command: argparse.ArgumentParser) -> None:
    """Add the output file of a command of the workflow, and its log file."""
    command.add_argument("--out", type=Path, required=True, help="file to write")
    command.add_argument("--log", type=Path, help="log file, in addition to standard error")


def add_training(command: argparse.ArgumentParser) -> None:
    """Add the arguments that say where and how networks are trained or timed."""
    command.add_argument("--store", type=Path, required=True, help="folder of the trained runs")
    command.add_argument(
        "--methods", type=Path, nargs="*", default=[], help="method files that the runs use"
    )
    command.add_argument(
        "--networks", type=Path, nargs="*", default=[], help="network files that the runs use"
    )
    command.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device to train on"
    )
    command.add_argument("--threads", type=int, default=1, help="number of CPU threads")
    command.add_argument(
        "--nondeterministic", action="store_true", help="allow nondeterministic kernels"
    )
    command.add_argument(
        "--jobs-per-gpu",
        type=int,
        default=1,
        help="number of training processes that may share a GPU",
    )
    command.add_argument(
        "--attempt",
        type=int,
        default=1,
        help="number of the job's attempt; from the second on, one run at a time is trained",
    )
    command.add_argument(
        "--allow-cpu", action="store_true", help="train on a CPU even if it takes days"
    )


def job_options(
    options: argparse.Namespace,
    save_every: float,
    loggers: Sequence[str] = (),
    results: Path = RESULTS,
) -> JobOptions:
    """Return the `JobOptions` for the arguments of `add_training`, and those of training alone."""
    from soteacher.training.members import JobOptions

    return JobOptions(
        store=options.store,
        device=options.device,
        threads=options.threads,
        deterministic=not options.nondeterministic,
        save_every=save_every,
        allow_cpu=options.allow_cpu,
        one_by_one=options.attempt > 1,
        jobs_per_gpu=options.jobs_per_gpu,
        loggers=tuple(loggers),
        results=results,
    )
