"""What Snakemake says while it runs the jobs of a study: one line at the end of each job.

Snakemake's own messages about the start and the end of jobs go to its log file alone. Its warnings
and errors, and those of the jobs, stay on the terminal.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from soteacher.cli.format import duration
from soteacher.cli.time_left import Step, TimeLeft, about
from soteacher.core.errors import UserError

if TYPE_CHECKING:
    from soteacher.study.plan import Plan
    from soteacher.study.runs import Run

TRAINING = {"teach": "teacher", "distill": "student"}
"""Rules that train, and the role of their runs."""
QUIET = {
    *("WORKFLOW_STARTED", "RUN_INFO", "RESOURCES_INFO", "PROGRESS"),
    *("JOB_INFO", "JOB_STARTED", "JOB_FINISHED"),
}
"""Snakemake's names of the messages that the lines here replace."""
CHATTER = ("Building DAG", "Using shell", "Conda environments", "Singularity", "Select jobs")
"""Starts of further messages without news."""


class Pending(NamedTuple):
    """A job that Snakemake is going to run."""

    rule: str
    wildcards: Mapping[str, str]
    output: tuple[str, ...]
    """Its output files; the target of a table or figure has none, and no line."""

    @property
    def name(self) -> str:
        """A text that identifies it."""
        return " ".join([self.rule, *self.output[:1]])


class Progress:
    """A filter of Snakemake's messages on the terminal, which prints a line per job instead.

    pending : returns the jobs that are going to run; it is called once, when they are known.
    say : prints a line.
    watch : the command that shows the runs' progress.
    """

    def __init__(
        self,
        plan: Plan,
        pending: Callable[[], Iterable[Pending]],
        say: Callable[[str], object],
        watch: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._pending, self._say, self._watch = plan, pending, say, watch
        self._clock = clock
        self._jobs: dict[str, Pending] = {}
        self._running: dict[Any, str] = {}
        """Snakemake's number of a job to its name."""
        self._ended = 0
        self._left: TimeLeft | None = None
        self._flop: dict[str, float] | None = None
        """Name of each job that trains to the FLOP that its runs still need; None: unknown."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether Snakemake prints a message; print a line if it is of a job's end."""
        event = getattr(getattr(record, "event", None), "name", None)
        if event == "RUN_INFO":
            self._begin()
        elif event == "JOB_INFO":
            self._job_starts(record.__dict__)
        elif event == "JOB_FINISHED":
            self._job_ends(record.__dict__)
        if record.levelno >= logging.WARNING:
            return True
        return event not in QUIET and not (event is None and str(record.msg).startswith(CHATTER))

    def _begin(self) -> None:
        jobs = [job for job in self._pending() if job.output]
        self._jobs = {job.name: job for job in jobs}
        training = [job for job in jobs if job.rule in TRAINING]
        self._flop = self._missing_flop(training)
        flop = self._flop or {}
        steps = {name: Step(job.rule, flop.get(name, 0.0)) for name, job in self._jobs.items()}
        self._left = TimeLeft(steps, self._clock)
        counts = Counter(TRAINING[job.rule] for job in training for _ in self._runs(job))
        parts = [_count(counts[role], role) for role in TRAINING.values() if counts[role]]
        runs = " and ".join(parts)
        about_runs = f" with {runs}" if runs else ""
        self._say(f"{_count(len(jobs), 'job')}{about_runs}; one line follows when a job has ended")
        if runs:
            self._say(f"to watch the runs, from another terminal: {self._watch}")

    def _job_starts(self, said: Mapping[str, Any]) -> None:
        name = " ".join([said["rule_name"], *list(said["output"])[:1]])
        if self._left and name in self._jobs:
            self._running[said["jobid"]] = name
            self._left.start(name)

    def _job_ends(self, said: Mapping[str, Any]) -> None:
        name = self._running.pop(said["job_id"], None)
        if self._left is None or name is None:
            return
        seconds = self._left.end(name)
        self._ended += 1
        left = self._left.seconds() if self._flop is not None else None
        rest = "" if left is None or self._ended == len(self._jobs) else f"; {about(left)}"
        done = f"{self._ended} of {len(self._jobs)}"
        self._say(f"{done}: {self._does(self._jobs[name])} in {duration(seconds)}{rest}")

    def _does(self, job: Pending) -> str:
        """Return what a job has done, as a verb and its object."""
        if runs := self._runs(job):
            stored = self._flop is not None and self._flop.get(job.name) == 0
            trained = "published" if stored else "trained"
            verb = "measured" if job.rule == "measure" else trained
            spec = runs[0].spec
            networks = " and ".join(sorted({run.spec.network.name for run in runs}))
            return f"{verb} {_count(len(runs), spec.role)} ({networks} on {runs[0].data})"
        if job.rule == "prepare":
            return f"prepared {job.wildcards['data']}"
        if job.rule == "time_steps":
            return f"timed training steps for {job.wildcards['timed']}"
        return f"made {Path(job.output[0]).name}"

    def _runs(self, job: Pending) -> Sequence[Run]:
        """Return the runs that a job trains or measures."""
        if job.rule == "measure":
            return self._plan.measure_jobs[job.wildcards["role"]][job.wildcards["measured"]].runs
        if job.rule in TRAINING:
            return self._plan.jobs[TRAINING[job.rule]][job.wildcards["job"]].runs
        return ()

    def _missing_flop(self, jobs: list[Pending]) -> dict[str, float] | None:
        """Return the FLOP of the runs of jobs that the store lacks, or None if it is unknown."""
        from soteacher.store.forecast import Forecast

        try:
            forecast = Forecast(self._plan)
        except (UserError, OSError):  # for example, images of which the sizes cannot be read
            return None
        missing = {
            job.name: [run for run in self._runs(job) if run.id not in forecast.finished]
            for job in jobs
        }
        return {name: forecast.costs(runs)["flop"] for name, runs in missing.items()}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
