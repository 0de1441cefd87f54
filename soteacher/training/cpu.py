"""Runs that are too large for a CPU: said, and not begun unless that is meant."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from soteacher.data.sources.base import Outline
from soteacher.errors import UserError
from soteacher.study.cost import pass_flop

if TYPE_CHECKING:
    from soteacher.training.job import Member

log = logging.getLogger("soteacher")

RATE = 60e9
"""FLOP/s that a thread of a fast CPU sustains in training. A slower one sustains half of it, and
networks of depthwise convolutions a quarter: the hours told are at the least."""
LONG = 8
"""Hours of a run from which on it has to be meant."""


def check_length(
    passes: Iterable[Sequence[Member]], outline: Outline, threads: int, allowed: bool
) -> None:
    """Say how long the runs of a job take on this CPU; `UserError` if days, and not `allowed`."""
    hours = {
        member.id: flop / (RATE * threads) / 3600
        for members in passes
        for member, flop in zip(
            members, pass_flop([member.spec for member in members], outline), strict=True
        )
    }
    longest = max(hours, key=lambda run: hours[run])
    if hours[longest] < LONG:
        return
    said = (
        f"{longest} would be trained on a CPU of {threads} thread{'s' * (threads > 1)}, and take "
        f"{_duration(hours[longest])} or more (all {len(hours)} runs of this job: "
        f"{_duration(sum(hours.values()))})"
    )
    if not allowed:
        raise UserError(
            f"{said}; torch sees no GPU here: run this on a machine that has one, or go on with "
            "--config allow_cpu=true"
        )
    log.warning("%s; allow_cpu is true, so it is begun", said)


def _duration(hours: float) -> str:
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.0f} hours"
