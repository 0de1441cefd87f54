"""Runs that are too large for a CPU: said, and not begun unless that is meant."""

from __future__ import annotations

import logging

from soteacher.core.errors import UserError

log = logging.getLogger("soteacher")

RATE = 60e9
"""FLOP/s that a thread of a fast CPU sustains in training. A slower one sustains half of it, and
networks of depthwise convolutions a quarter: the hours told are at the least."""
LONG = 8
"""Hours of a run from which on it has to be meant."""
LONG_TIMING = 1
"""Hours of timing steps from which on they have to be."""


def check_runs(flop: dict[str, float], threads: int, allowed: bool) -> None:
    """Say how long a job's runs take on this CPU; `UserError` if that is long, and not `allowed`.

    flop : by run.
    """
    hours = {run: work / (RATE * threads) / 3600 for run, work in flop.items()}
    longest = max(hours, key=lambda run: hours[run])
    if hours[longest] >= LONG:
        rest = f"all {len(hours)} runs of this job: {_duration(sum(hours.values()))}"
        _say(f"{longest} would be trained", hours[longest], threads, allowed, f" ({rest})")


def check_timing(flop: float, threads: int, allowed: bool) -> None:
    """Say how long the timing of steps takes on this CPU; `UserError` as of runs."""
    hours = flop / (RATE * threads) / 3600
    if hours >= LONG_TIMING:
        _say("training steps would be timed", hours, threads, allowed)


def _say(what: str, hours: float, threads: int, allowed: bool, more: str = "") -> None:
    of = f"{threads} thread{'s' * (threads > 1)}"
    said = f"{what} on a CPU of {of}, and take {_duration(hours)} or more{more}"
    if not allowed:
        raise UserError(
            f"{said}; torch sees no GPU here: run this on a machine that has one, or go on with "
            "--config allow_cpu=true"
        )
    log.warning("%s; allow_cpu is true, so it is begun", said)


def _duration(hours: float) -> str:
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.0f} hours"
