"""Where a network stands in its training."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Stage(IntEnum):
    """What is trained: `PREPARE` comes first, for the methods that have it."""

    PREPARE = 0
    MAIN = 1
    END = 2


@dataclass(frozen=True, order=True)
class Moment:
    """A stage, a 0-based epoch in it and a 0-based step in that: the next step to be taken.

    Moments are ordered. A learner takes a batch only if it stands at the batch's moment, and that
    one rule serves resume within an epoch, learners that join late, and two-stage methods.
    """

    stage: Stage
    epoch: int
    step: int
