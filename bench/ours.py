"""soteacher's side: `run_pass`, the loop of every job, on learners from `PassSetup`."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, NoReturn

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.data.prepared import Prepared
from soteacher.data.stream import Stream
from soteacher.training import device as devices
from soteacher.training.learner import Diverged, Learner
from soteacher.training.loop import run_pass
from soteacher.training.members import Member
from soteacher.training.setup import PassSetup

START = Cursor(Stage.MAIN, 1, 0)
"""The first timed step: from the second epoch on, the consistency term has a loss."""


class _Enough(Exception):
    """The asked number of steps is done."""


class _Counted:
    """The stream of a pass, which ends the pass after some batches."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self.steps, self.left = stream, stream.steps, 0

    def batch(self, cursor: Cursor) -> Batch:
        """Return the batch of a cursor; raise `_Enough` if all that were asked for are used."""
        if self.left == 0:
            raise _Enough
        self.left -= 1
        return self._stream.batch(cursor)

    def check_finite(self, cursor: Cursor) -> None:
        """Check as the stream does."""
        self._stream.check_finite(cursor)


class OurPass:
    """The runs of one pass, in training.

    A job does the same for each step, and in addition tests networks after every epoch and saves
    states every minute; the other sides do not either.
    """

    def __init__(self, members: list[Member], data: Prepared) -> None:
        self._precision = members[0].spec.precision
        self.enter()
        self.setup = PassSetup(members, data, "cpu", None)
        self.learners = [self._learner(member) for member in members]
        self._stream, self._done = _Counted(self.setup.stream), 0

    def enter(self) -> None:
        """Set torch up as a job on one thread does."""
        devices.set_up("cpu", 1, self._precision, deterministic=True)

    def steps(self, count: int) -> None:
        """Train all runs for some steps.

        Raises `RuntimeError` if a run failed or the epoch ended.
        """
        self._done += count
        self._stream.left = count
        stream: Any = self._stream
        teacher = self.setup.teacher or (lambda batch: None)
        with suppress(_Enough):
            run_pass([*self.learners], stream, teacher, math.inf, _never)
        reached = Cursor(START.stage, START.epoch, self._done)
        for learner in self.learners:
            if learner.cursor != reached:
                raise RuntimeError(f"{learner.folder.id} is at {learner.cursor}, not at {reached}")

    def check_finite(self) -> None:
        """Raise `Diverged` if a loss was not finite: its steps would prove nothing."""
        for learner in self.learners:
            learner.check_finite(self._done)

    def _learner(self, member: Member) -> Learner:
        """Return the learner of a run at the start of its main stage, without its preparation."""
        terms = member.spec.loss_terms()
        for term in terms:
            preparation = self.setup.preparation(member.spec, term)
            if preparation is not None:
                for module in preparation.modules.values():
                    module.eval().requires_grad_(False)
                term.receive(preparation.modules)
        learner = self.setup.learner(member, terms)
        learner.enter(Cursor(Stage.MAIN, 0, 0))  # this creates the optimizer of the main stage
        learner.enter(START)
        return learner


def _never(learner: Learner, divergence: Diverged | None) -> NoReturn:
    raise RuntimeError(f"{learner.folder.id} ended during the measurement: {divergence}")
