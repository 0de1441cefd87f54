"""The position of a network in its training."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Stage(IntEnum):
    """The stages of a run. Only methods with a preparation have `PREPARE`."""

    PREPARE = 0
    MAIN = 1
    END = 2


@dataclass(frozen=True, order=True)
class Cursor:
    """The next training step: a stage, a 0-based epoch in it and a 0-based step in the epoch.

    Cursors are ordered. A learner trains on a batch only if its cursor equals that of the batch.
    This rule covers resuming within an epoch, learners that join late, and two-stage methods.
    """

    stage: Stage
    epoch: int
    step: int
