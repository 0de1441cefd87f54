"""How the runs of a study, or of the store, stand: from the store's files and locks alone.

Nothing here imports torch, asks Snakemake or keeps a job from its work.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.store.forecast import Forecast
from soteacher.store.run_folder import RunFolder
from soteacher.store.study_data import prepared_of
from soteacher.study.plan import Plan
from soteacher.study.specs import PreparationSpec, fingerprint

STATES = ("done", "running", "failed", "damaged", "stopped", "diverged", "blocked", "waiting")
ENDS = ("done", "diverged", "blocked")
"""States that no job will change."""


@dataclass(frozen=True)
class State:
    """How a run stands: one of `STATES`, how often it was begun, and what else that state tells.

    running : `at`, `process`, `images_per_second` and `seconds_left` (None before the first
    epoch's end).
    failed : `why`, `when` and `attempt`, as noted.    damaged : `why`.    stopped : `at`.
    Of a run that was begun, too: `host` and `slurm_job` (or None) of its last attempt.
    diverged : `where`.    blocked : `by`, what diverged.    waiting : `by`, the job that holds it.

    `at` is the newest saved state's stage, 1-based epoch and number of epochs, or None.
    """

    name: str
    attempts: int = 0
    facts: dict[str, Any] = field(default_factory=dict)


def state_of(folder: RunFolder) -> State:
    """How a run stands, as its own folder tells."""
    try:
        record = folder.finished_record()
    except UserError as error:
        return State("damaged", 0, {"why": str(error)})
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
    lost_an_artifact = (folder.path / "run.json").is_file()
    if attempts and not lost_an_artifact:
        facts = {"at": _at(folder.progress()), **_where(attempts)}
        return State("stopped", len(attempts), facts)
    return State("waiting", len(attempts))


def _where(attempts: list[dict[str, Any]]) -> dict[str, Any]:
    """Where the last attempt was made."""
    return {key: attempts[-1].get(key) for key in ("host", "slurm_job")} if attempts else {}


def seconds_left(plan: Plan, states: dict[str, State]) -> float | None:
    """Seconds until every run of a study is trained, as many processes at once as there are now.

    As fast as runs in the store were trained; None: of some kind of runs none was.
    """
    left = {run_id: _share_left(state) for run_id, state in states.items()}
    forecast = Forecast(plan, parallel=max(processes(states), 1))
    return forecast.seconds_left({run_id: share for run_id, share in left.items() if share})


def _share_left(state: State) -> float:
    """How much of a run's training is still to be done, by the newest saved state.

    A preparation counts as nothing of the main stage.
    """
    if state.name in ENDS:
        return 0.0
    at = state.facts.get("at")
    if at is None or at["stage"] != "main":
        return 1.0
    return 1 - (at["epoch"] - 1) / at["epochs"]


def processes(states: dict[str, State]) -> int:
    """How many training processes there are at the moment."""
    return len({state.facts["process"] for state in states.values() if state.name == "running"})


def _at(state: dict[str, Any] | None) -> dict[str, Any] | None:
    if state is None:
        return None
    stage, epoch, _ = state["cursor"]
    return {"stage": stage.lower(), "epoch": epoch + 1, "epochs": state["epochs"]}


def _pace(folder: RunFolder, attempt: dict[str, Any]) -> dict[str, Any]:
    """Rate and time left at that rate, less the time since the state that tells them."""
    state = folder.progress()
    rate = state["images_per_second"] if state else None
    left = None
    if state and rate:
        begun = datetime.strptime(attempt["started"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
        since = max(state["saved"], begun)  # what was stopped for a day trained nothing in it
        left = max(0.0, state["images_left"] / rate - (time.time() - since))
    process = files.process(attempt["pid"], attempt["host"])
    return {
        "at": _at(state),
        "images_per_second": rate,
        "seconds_left": left,
        "process": process,
    }


def survey(plan: Plan) -> dict[str, State]:
    """Run id to state, for every run of a study."""
    store = Path(plan.study.store)
    hashes = {name: data.sha256 for name, data in prepared_of(plan).items()}
    states = {}
    for run in plan.runs.values():
        states[run.id] = State("waiting")
        if run.data in hashes:
            own = fingerprint(run.spec, hashes[run.data])
            states[run.id] = state_of(RunFolder(store, own, run.id))
    for run in plan.runs.values():
        state = states[run.id]
        if run.teacher and run.data in hashes and state.name in ("failed", "stopped", "waiting"):
            own = fingerprint(PreparationSpec(run.spec), hashes[run.data])
            preparation = state_of(RunFolder(store, own, f"a preparation for {run.id}"))
            needed = {run.teacher.id: states[run.teacher.id], "its preparation": preparation}
            for name, of in needed.items():
                if of.name == "diverged":
                    states[run.id] = State("blocked", state.attempts, {"by": name})
    return states
