"""The runs of a job, grouped into passes that share batches and teacher outputs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from soteacher.core.errors import GpuLost, Stopped, UserError
from soteacher.data.prepared import Prepared
from soteacher.store.run_folder import RunFolder
from soteacher.study.cost import pass_flop
from soteacher.study.last_batch import check_last_batch, smallest_batch
from soteacher.terms import LossTerm
from soteacher.training import device as devices
from soteacher.training import records, state
from soteacher.training.cpu_limit import check_runs
from soteacher.training.evaluate import Evaluator
from soteacher.training.learner import Diverged, Learner
from soteacher.training.loggers import LOGGERS
from soteacher.training.loop import run_pass
from soteacher.training.members import JobOptions, Member
from soteacher.training.memory_limit import check_passes
from soteacher.training.preparation import prepare_from_teacher
from soteacher.training.progress_file import ProgressFile
from soteacher.training.rehearsal import rehearse
from soteacher.training.setup import PassSetup
from soteacher.training.watchers import Watcher, Watchers

log = logging.getLogger("soteacher")


def train_passes(
    members: list[Member], data: Prepared, options: JobOptions
) -> tuple[list[str], dict[str, str]]:
    """Train runs, pass by pass; the caller holds their locks.

    Returns
    -------
    tuple of list and dict
        The ids of the failed runs; and run id to the id of the diverged preparation for the runs
        that could not be trained.
    """
    data.check()
    for member in members:
        check_last_batch(member.id, member.spec, data.outline)
    [precision] = {member.spec.precision for member in members}  # a study has one
    device = devices.set_up(options.device, options.threads, precision, options.deterministic)
    passes: dict[str, list[Member]] = {}
    for member in members:
        alone = member.id if options.one_by_one else ""
        passes.setdefault(f"{member.spec.pass_key} {alone}", []).append(member)
    specs = [[member.spec for member in together] for together in passes.values()]
    check_passes(specs, data.outline, device)
    if device == "cpu":
        flop: dict[str, float] = {}
        for together in passes.values():
            work = pass_flop([member.spec for member in together], data.outline)
            flop |= zip((member.id for member in together), work, strict=True)
        check_runs(flop, options.threads, options.allow_cpu, precision)
    failed: list[str] = []
    prevented: dict[str, str] = {}
    evaluator = Evaluator(data, device)
    unusable: set[str] = set()
    """Names of the loggers that could not be opened."""
    # last come runs that failed: a CUDA error of theirs may have ended the process before others
    for together in sorted(passes.values(), key=lambda runs: any(map(_failed_before, runs))):
        devices.reset_peak_memory(device)
        failed_now, prevented_now = _train_pass(
            together, data, device, evaluator, options, unusable
        )
        failed += failed_now
        prevented |= prevented_now
        if failed_now:
            devices.release_memory(device)
    return failed, prevented


def _failed_before(member: Member) -> bool:
    with suppress(UserError):
        return member.folder.failure() is not None
    return False


def _train_pass(
    together: list[Member],
    data: Prepared,
    device: str,
    evaluator: Evaluator,
    options: JobOptions,
    unusable: set[str],
) -> tuple[list[str], dict[str, str]]:
    """Train the runs of one pass; see `train_passes`.

    All that the pass has in memory is local here, so it is freed for the next pass in any case.
    """
    try:
        one = Pass(PassSetup(together, data, device, evaluator), options, unusable)
        return one.run(), one.prevented
    except (Stopped, GpuLost):
        raise
    except Exception as error:  # a shared part of the pass failed: the teacher or the stream
        unfinished = [member.folder for member in together if not member.folder.finished()]
        records.report_failure(unfinished, error)
        return [folder.id for folder in unfinished], {}


class Pass:
    """The runs of one pass, from their setup to their records.

    unusable : names of the loggers that are not opened; those that cannot be are added.
    """

    def __init__(self, setup: PassSetup, options: JobOptions, unusable: set[str]) -> None:
        self.setup, self.options, self._unusable = setup, options, unusable
        self.prevented: dict[str, str] = {}
        """Run id to the id of the preparation that diverged."""
        self.failed: list[str] = []

    def run(self) -> list[str]:
        """Train the preparations of the teacher, then the runs; return the ids of failed runs."""
        members = self.setup.members
        terms: dict[str, list[LossTerm]] = {}
        for member in members:
            with self._apart(member):
                terms[member.id] = member.spec.loss_terms()
        if smallest_batch(self.setup.stream.n_images, self.setup.stream.batch_size) == 1:
            for member in members:
                with self._apart(member):
                    rehearse(self.setup, member)
        terms = {run_id: terms[run_id] for run_id in terms if run_id not in self.failed}
        store = self.options.store
        self.prevented = prepare_from_teacher(self.setup, terms, store, self._train, self._apart)
        failed = self._train(self._learners(terms))
        return self.failed + [folder.id for folder in failed]

    def _learners(self, terms: dict[str, list[LossTerm]]) -> list[Learner]:
        """Return the learners of the runs that can be trained; they alone keep their terms."""
        learners = []
        for member in self.setup.members:
            if member.id not in self.failed and member.id not in self.prevented:
                with self._apart(member):
                    records.describe(member.folder, member.spec, member, self.setup.data)
                    learner = self.setup.learner(member, terms.pop(member.id))
                    state.resume(learner)
                    learners.append(learner)
        return learners

    @contextmanager
    def _apart(self, member: Member) -> Iterator[None]:
        """Let an exception count as the failure of this member alone."""
        try:
            yield
        except Exception as error:
            self.failed.append(member.id)
            records.report_failure([member.folder], error)

    def _train(self, learners: list[Learner]) -> list[RunFolder]:
        """Train learners to their ends; return the folders of those that failed."""
        self._begin(learners)
        teacher = self.setup.teacher or (lambda batch: None)
        finish = partial(self._finish, precision=self.setup.members[0].spec.precision)
        stream, save_every = self.setup.stream, self.options.save_every
        with self._watched(learners):
            return run_pass(learners, stream, teacher, save_every, finish)

    def _watched(self, learners: list[Learner]) -> ExitStack:
        """Open what follows the epochs of learners, from where they resume.

        The returned context closes it, for runs that fail or stop. It keeps no learner in memory.
        """
        watched = ExitStack()
        for learner in learners:
            folder, history = learner.folder, learner.history
            opened: dict[str, Callable[[], Watcher]] = {}
            opened["progress.csv"] = partial(ProgressFile, folder, history)
            for name in self.options.loggers:
                opened[name] = partial(LOGGERS[name], folder, history, self.options.results)
            learner.watchers = Watchers(folder.id, opened, self._unusable)
            watched.callback(learner.watchers.close)
        return watched

    def _begin(self, learners: list[Learner]) -> None:
        """Record the attempts of learners, from where they resume."""
        for learner in learners:
            cursor = learner.cursor
            number = learner.folder.begin_attempt(
                {
                    "device": self.setup.device,
                    "cpu_capability": devices.cpu_capability(),
                    "from": [cursor.stage.name, cursor.epoch, cursor.step],
                }
            )
            if number > 1:
                log.info(
                    "%s: attempt %d, resuming from %s epoch %d step %d",
                    learner.folder.id,
                    number,
                    cursor.stage.name.lower(),
                    cursor.epoch + 1,
                    cursor.step + 1,
                )

    def _finish(self, learner: Learner, divergence: Diverged | None, precision: str) -> None:
        if learner.watchers is not None:
            learner.watchers.close()
        records.finish(learner, divergence, self.setup.data, self.setup.device, precision)
