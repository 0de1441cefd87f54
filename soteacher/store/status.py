"""The states of the runs of a study or of the store, read from the store's files and locks.

Nothing here imports torch, calls Snakemake or delays a job.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from soteacher.core import files
from soteacher.core.errors import Damaged, Unreadable
from soteacher.store.forecast import Forecast
from soteacher.store.run_folder import STARTED, RunFolder
from soteacher.store.study_data import prepared_of
from soteacher.study.plan import Plan
from soteacher.study.specs import PreparationSpec, fingerprint

STATES = (
    *("done", "running", "failed", "damaged", "unreadable"),
    *("stopped", "diverged", "blocked", "waiting"),
)
ENDS = ("done", "diverged", "blocked")
"""Final states: no job changes them."""


@dataclass(frozen=True)
class State:
    """The state of a run: one of `STATES`, the number of attempts, and facts of that state.

    running : `at`, `process`, `images_per_second`, `seconds_left` and `progress_file`, the path of
    the CSV file of finished epochs (all but the first two None before the end of the first epoch).
    failed : `why`, `when` and `attempt`, as recorded.    damaged, unreadable : `why`.
    stopped : `at`.
    diverged : `where`.    blocked : `by`, the run that diverged.
    waiting : `by`, the process that locks the run.
    A run with an attempt also has `host` and `slurm_job` (or None) of the last attempt.

    `at` holds the stage, the 1-based epoch and the number of epochs of the newest saved state, or
    it is None.
    """

    name: str
    attempts: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


def state_of(folder: RunFolder) -> State:
    """Return the state of a run, read from its folder."""
    try:
        return _state_of(folder)
    except Unreadable as error:
        return State("unreadable", 0, {"why": str(error)})
    except Damaged as error:
        return State("damaged", 0, {"why": str(error)})


def _state_of(folder: RunFolder) -> State:
    record = folder.finished_record()
    if record is not None:
        facts = {"where": record["diverged"]} if record["status"] == "diverged" else {}
        facts |= _where(record["attempts"])
        return State(record["status"], len(record["attempts"]), facts)
    holder = files.held_by(folder.path)
    attempts, failure = folder.attempts(), folder.failure()
    if failure is not None and holder in (None, failure["by"]):
        return State("failed", len(attempts), failure | _where(attempts))
    if holder is not None:
        if attempts and holder == files.process(attempts[-1]["pid"], attempts[-1]["host"]):
            facts = _pace(folder, attempts[-1]) | _where(attempts)
            return State("running", len(attempts), facts)
        return State("waiting", len(attempts), {"by": holder})
    lost_an_artifact = files.is_file(folder.path / "run.json", "the record")
    if attempts and not lost_an_artifact:
        facts = {"at": _at(folder.progress()), **_where(attempts)}
        return State("stopped", len(attempts), facts)
    return State("waiting", len(attempts))


def _where(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the host and Slurm job of the last attempt."""
    return {key: attempts[-1].get(key) for key in ("host", "slurm_job")} if attempts else {}


def seconds_left(plan: Plan, states: dict[str, State]) -> float | None:
    """Return the seconds until every run of a study is trained, with the present processes.

    The rates are those of finished runs in the store; None: no rate is known for a kind of runs.
    """
    left = {run_id: _share_left(state) for run_id, state in states.items()}
    forecast = Forecast(plan, parallel=max(processes(states), 1))
    return forecast.seconds_left({run_id: share for run_id, share in left.items() if share})


def _share_left(state: State) -> float:
    """Return the remaining share of a run's training, according to the newest saved state.

    Before the main stage, the share is 1.
    """
    if state.name in ENDS:
        return 0.0
    at = state.facts.get("at")
    if at is None or at["stage"] != "main":
        return 1.0
    return 1 - (at["epoch"] - 1) / at["epochs"]


def processes(states: dict[str, State]) -> int:
    """Return the number of running training processes."""
    return len({state.facts["process"] for state in states.values() if state.name == "running"})


def _at(state: dict[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    stage, epoch, _ = state["cursor"]
    return {"stage": stage.lower(), "epoch": epoch + 1, "epochs": state["epochs"]}


def _pace(folder: RunFolder, attempt: dict[str, Any]) -> dict[str, Any]:
    """Return the rate, and the time left at that rate minus the time since the saved state."""
    state = folder.progress()
    rate = state["images_per_second"] if state else None
    left = None
    if state and rate:
        started = datetime.strptime(attempt["started"], STARTED).timestamp()
        since = max(state["saved"], started)  # a run does not train while it is stopped
        left = max(0.0, state["images_left"] / rate - (time.time() - since))
    process = files.process(attempt["pid"], attempt["host"])
    followed = folder.progress_file
    return {
        "progress_file": followed if files.is_file(followed, "the finished epochs") else None,
        "at": _at(state),
        "images_per_second": rate,
        "seconds_left": left,
        "process": process,
    }


def survey(plan: Plan) -> dict[str, State]:
    """Return run id to state, for every run of a study."""
    store = Path(plan.study.store)
    hashes = {name: data.sha256 for name, data in prepared_of(plan).items()}
    states = {}
    for run in plan.runs.values():
        states[run.id] = State("waiting")
        if run.data in hashes:
            of_run = fingerprint(run.spec, hashes[run.data])
            states[run.id] = state_of(RunFolder(store, of_run, run.id))
    for run in plan.runs.values():
        state = states[run.id]
        if run.teacher and run.data in hashes and state.name in ("failed", "stopped", "waiting"):
            of_preparation = fingerprint(PreparationSpec(run.spec), hashes[run.data])
            folder = RunFolder(store, of_preparation, f"a preparation for {run.id}")
            needed = {run.teacher.id: states[run.teacher.id], "its preparation": state_of(folder)}
            for name, state_of_needed in needed.items():
                if state_of_needed.name == "diverged":
                    states[run.id] = State("blocked", state.attempts, {"by": name})
    return states
