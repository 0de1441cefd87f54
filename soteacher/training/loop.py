"""One pass over the stream of batches, with every learner that can share it."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import Stopped, UserError
from soteacher.data.stream import Stream
from soteacher.models.output import Output
from soteacher.store.run_folder import RunFolder
from soteacher.training import state
from soteacher.training.learner import Diverged, Learner
from soteacher.training.records import report_failure

log = logging.getLogger("soteacher")

EPOCH_SAVE_SECONDS = 10.0
"""At the end of an epoch the state is saved if the last save is at least this long ago, and at
least `EPOCH_SAVE_RATIO` times as long as it took."""
EPOCH_SAVE_RATIO = 100.0
"""So saves at ends of epochs take at most 1 % of the time."""

Teacher = Callable[[Batch], Output | None]
Finish = Callable[[Learner, Diverged | None], None]
"""Writes the record of a learner that ended, with its divergence if it diverged."""


def run_pass(
    learners: list[Learner],
    stream: Stream,
    teacher: Teacher,
    save_every: float,
    finish: Finish,
) -> list[RunFolder]:
    """Train learners to their ends; they share each batch and each output of the teacher.

    The next batch is that of the least cursor; all learners with this cursor train on it. A learner
    that diverges is finished as diverged, unless its images were not finite, which is an error of
    the data. A learner that fails with an exception keeps its last saved state. The other learners
    continue.

    Parameters
    ----------
    learners : a learner that has ended or failed is removed, so that its memory is freed.
    save_every : seconds after the last save at which the next one is due, also within an epoch.

    Returns
    -------
    list of RunFolder
        The folders of the learners that failed.

    Raises
    ------
    Stopped
        A signal came; all states are saved.
    GpuLost
        A learner met a CUDA error after which no learner can continue.
    """
    group = _Group(learners, stream, finish)
    saved, cost = time.monotonic(), 0.0
    with _terminable() as terminated:
        while group.running:
            cursor = min(learner.cursor for learner in group.running)
            batch = stream.batch(cursor)
            with torch.no_grad():
                teacher_output = teacher(batch)
            group.step(cursor, batch, teacher_output)
            last = cursor.step + 1 == stream.steps
            due = save_every
            if last:
                due = min(save_every, max(EPOCH_SAVE_SECONDS, EPOCH_SAVE_RATIO * cost))
            now = time.monotonic()
            if terminated() or now - saved >= due:
                group.save(final=bool(terminated()))
                saved = time.monotonic()
                cost = saved - now
            if terminated():
                raise Stopped(
                    f"stopped by {terminated()}; states are saved, rerun the same command to resume"
                )
    return group.failed


class _Group:
    """The learners of a pass: those that still run, and those that failed."""

    def __init__(self, learners: list[Learner], stream: Stream, finish: Finish) -> None:
        self.running, self._stream, self._finish = learners, stream, finish
        self.failed: list[RunFolder] = []

    def step(self, cursor: Cursor, batch: Batch, teacher: Output | None) -> None:
        """Let each learner with this cursor train on the batch."""
        for learner in list(self.running):
            if learner.cursor == cursor:
                self._guard(learner, partial(learner.step, batch, teacher))

    def save(self, final: bool) -> None:
        """Save the states of all learners."""
        for learner in list(self.running):
            self._guard(learner, partial(_save, learner, final))

    def _guard(self, learner: Learner, act: Callable[[], None]) -> None:
        """Call `act`; finish the learner if it ends or diverges, remove it if it fails."""
        try:
            try:
                act()
            except Diverged as divergence:
                self._stream.check_finite(_where(learner, divergence))
                log.warning("%s: diverged: %s", learner.folder.id, divergence.where)
                self.running.remove(learner)
                self._finish(learner, divergence)
            else:
                if learner.cursor.stage == Stage.END:
                    self.running.remove(learner)
                    self._finish(learner, None)
        except Exception as error:
            self.failed.append(learner.folder)
            if learner in self.running:
                self.running.remove(learner)
            report_failure([learner.folder], error)


def _where(learner: Learner, divergence: Diverged) -> Cursor:
    epoch, step = (divergence.where[name] - 1 for name in ("epoch", "step"))
    return Cursor(learner.cursor.stage, epoch, step)


def _save(learner: Learner, final: bool) -> None:
    """Save a state; a failure to write is an error only for the final save."""
    try:
        state.save(learner)
    except UserError as error:
        if final:
            raise
        log.warning("%s: the state is not saved, training continues: %s", learner.folder.id, error)


@contextmanager
def _terminable() -> Iterator[Callable[[], str]]:
    """Catch SIGTERM and Ctrl-C; the yielded function returns the signal's name, or "" if none."""
    received = ""

    def note(number: int, _: object) -> None:
        nonlocal received
        received = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
