"""How far a network is in its training."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Stage(IntEnum):
    """What is trained: `PREPARE` comes first, for the methods that have it."""

    PREPARE = 0
    MAIN = 1
    END = 2


@dataclass(frozen=True, order=True)
class Cursor:
    """A stage, a 0-based epoch in it and a 0-based step in that: the next step to be taken.

    Cursors are ordered. A learner takes a batch only if its cursor equals the batch's. This rule
    serves resuming within an epoch, learners that join late, and two-stage methods.
    """

    stage: Stage
    epoch: int
    step: int
