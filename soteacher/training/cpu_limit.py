"""A limit for runs on a CPU: long runs start only if `allow_cpu` is true."""

from __future__ import annotations

import logging

from soteacher.core.errors import UserError
from soteacher.core.precisions import BFLOAT16, FLOAT32
from soteacher.training.gpu_diagnosis import diagnose

log = logging.getLogger("soteacher")

RATE = 60e9
"""FLOP/s that one thread of a fast CPU sustains in training. A slow CPU sustains half of it, and
networks of depthwise convolutions a quarter: the estimated hours are a lower bound."""
FASTER = 2
"""How many times as fast as in float32 a CPU trains in bfloat16, at most."""
LONG = 8
"""Hours of training above which a run needs `allow_cpu`."""
LONG_TIMING = 1
"""Hours of timing steps above which a timing needs `allow_cpu`."""


def check_runs(
    flop: dict[str, float], threads: int, allowed: bool, precision: str = FLOAT32
) -> None:
    """Log how long a job's runs take on this CPU if that is long; `UserError` unless `allowed`.

    flop : run id to FLOP.
    """
    hours = {run: _hours(work, threads, precision) for run, work in flop.items()}
    longest = max(hours, key=lambda run: hours[run])
    if hours[longest] >= LONG:
        rest = f"all {len(hours)} runs of this job: {_duration(sum(hours.values()))}"
        _check(f"training {longest}", hours[longest], threads, allowed, f" ({rest})")


def check_timing(flop: float, threads: int, allowed: bool, precision: str = FLOAT32) -> None:
    """Log how long the timing of steps takes on this CPU if that is long; see `check_runs`."""
    hours = _hours(flop, threads, precision)
    if hours >= LONG_TIMING:
        _check("timing the training steps", hours, threads, allowed)


def _hours(flop: float, threads: int, precision: str) -> float:
    return flop / (RATE * threads * (FASTER if precision == BFLOAT16 else 1)) / 3600


def _check(what: str, hours: float, threads: int, allowed: bool, more: str = "") -> None:
    of = f"{threads} thread{'s' * (threads > 1)}"
    estimate = f"{what} on a CPU with {of} takes {_duration(hours)} or more{more}"
    if not allowed:
        diagnosis = diagnose()
        why = "the study has `device: cpu`" if diagnosis is None else diagnosis.why
        remedy = "set `device` to auto or cuda" if diagnosis is None else diagnosis.remedy
        raise UserError(
            f"{estimate}; {why}: {remedy}, or add `--config allow_cpu=true` to start anyway"
        )
    log.warning("%s; starting anyway, because allow_cpu is true", estimate)


def _duration(hours: float) -> str:
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.0f} hours"
