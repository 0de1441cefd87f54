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
from soteacher.core.cursor import Stage
from soteacher.core.errors import Stopped, UserError
from soteacher.data.stream import Stream
from soteacher.models.output import Output
from soteacher.training import state
from soteacher.training.learner import Diverged, Learner
from soteacher.training.records import report_failure

log = logging.getLogger("soteacher")

EPOCH_SAVE_SECONDS = 10.0
"""At the end of an epoch the state is saved if the last save is this long ago."""

Teacher = Callable[[Batch], Output | None]


def run_pass(
    learners: list[Learner],
    stream: Stream,
    teacher: Teacher,
    save_every: float,
    finish: Callable[[Learner, Diverged | None], None],
) -> list[Learner]:
    """Train learners to their ends, one batch and one teacher output at a time for all of them.

    The batch that is made is the one that the learner furthest behind stands at; whoever stands
    there takes it. A learner that diverges is finished as such, one that fails with an exception
    is left as its last state has it, and the others go on.

    Returns
    -------
    The learners that failed.
    """
    running = list(learners)
    failed: list[Learner] = []
    saved = time.monotonic()

    def guarded(learner: Learner, act: Callable[[], None]) -> None:
        """Let a learner act; finish it where it ends or diverges, leave it out where it fails."""
        try:
            try:
                act()
            except Diverged as divergence:
                log.warning("%s: diverged: %s", learner.folder.id, divergence.where)
                running.remove(learner)
                finish(learner, divergence)
            else:
                if learner.cursor.stage == Stage.END:
                    running.remove(learner)
                    finish(learner, None)
        except Exception as error:
            report_failure([learner.folder], error)
            failed.append(learner)
            if learner in running:
                running.remove(learner)

    with _terminable() as terminated:
        while running:
            at = min(learner.cursor for learner in running)
            batch = stream.batch(at)
            with torch.no_grad():
                taught = teacher(batch)
            for learner in list(running):
                if learner.cursor == at:
                    guarded(learner, partial(learner.step, batch, taught))
            last = at.step + 1 == stream.steps
            due = min(save_every, EPOCH_SAVE_SECONDS) if last else save_every
            if terminated() or time.monotonic() - saved >= due:
                for learner in list(running):
                    guarded(learner, partial(_save, learner, final=bool(terminated())))
                saved = time.monotonic()
            if terminated():
                raise Stopped(
                    f"stopped by {terminated()}; states are saved, the same command goes on"
                )
    return failed


def _save(learner: Learner, final: bool) -> None:
    """Save a state; what cannot be written now may be at the next time, if there is one."""
    try:
        state.save(learner)
    except UserError as error:
        if final:
            raise
        log.warning("%s: its state is not saved, training goes on: %s", learner.folder.id, error)


@contextmanager
def _terminable() -> Iterator[Callable[[], str]]:
    """Within it, SIGTERM and Ctrl-C do not end the process; the function says which came."""
    came = ""

    def note(number: int, _: object) -> None:
        nonlocal came
        came = signal.Signals(number).name

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
