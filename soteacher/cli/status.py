"""`soteacher status`: which runs of a study are done, and the progress of the others."""

from __future__ import annotations

import argparse
import shlex
import sys
import textwrap
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from soteacher.cli.arguments import add_study, possible_plan_of
from soteacher.cli.format import duration

if TYPE_CHECKING:
    from soteacher.store.status import State
    from soteacher.study.plan import Plan

HELP = "Show which runs are done, running, waiting or failed."

WATCH_SECONDS = 5.0
CLEAR = "\033[2J\033[H"
"""Control characters that clear a terminal's screen."""
SHOWN = ("running", "failed", "damaged", "unreadable", "stopped", "diverged")
"""States of the runs that are listed without `--all`."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_study(command)
    command.add_argument("--watch", action="store_true", help="repeat until all runs are done")
    command.add_argument("--all", action="store_true", help="list all runs, one line per run")


def run(options: argparse.Namespace) -> None:
    """Print the status, once or until every run has ended."""
    from soteacher.store.status import ENDS, seconds_left, survey

    plan = possible_plan_of(options.study)
    try:
        while True:
            states = survey(plan)
            clear = CLEAR if options.watch and sys.stdout.isatty() else ""
            left = seconds_left(plan, states)
            print(clear + to_text(plan, states, options.all, left), flush=True)
            if not options.watch or all(state.name in ENDS for state in states.values()):
                return
            time.sleep(WATCH_SECONDS)
            print()
    except KeyboardInterrupt:
        print()


def to_text(
    plan: Plan,
    states: dict[str, State],
    everything: bool = False,
    left: float | None = None,
) -> str:
    """Return counts by role and state, then one line per run: of those in `SHOWN`, or of all.

    The last line says how to follow the epochs of the first run that has a file of them.

    left : seconds until all runs are trained, with the present processes; None: unknown.
    """
    from soteacher.store.status import STATES, processes

    lines = []
    for role in ("teacher", "student"):
        of_role = [states[run.id].name for run in plan.runs.values() if run.role == role]
        counts = Counter(of_role)
        parts = [f"{counts[name]} {name}" for name in STATES if counts[name]]
        lines.append(f"{role}s ({len(of_role)}): {', '.join(parts) or 'none planned'}")
    resumes = [state.attempts - 1 for state in states.values() if state.attempts > 1]
    if resumes:
        lines.append(f"attempts that resumed a run: {sum(resumes)}, runs resumed: {len(resumes)}")
    if left:
        at_once = processes(states)
        pace = f"in {at_once} processes, as at present" if at_once > 1 else "in one process"
        lines.append(f"time left: about {duration(left)} {pace}")
    names = [name for name in STATES if everything or name in SHOWN]
    shown = [
        (run_id, states[run_id])
        for name in names
        for run_id in sorted(states)
        if states[run_id].name == name
    ]
    if shown:
        width = max(len(run_id) for run_id, _ in shown)
        lines.append("")
        for run_id, state in shown:
            parts = [f"{state.name:8}", f"{run_id:{width}}", _more(state), _on(state)]
            lines.append("  ".join(part for part in parts if part).rstrip())
    followed = [(name, state) for name, state in shown if state.facts.get("progress_file")]
    for name, state in followed[:1]:
        path = shlex.quote(str(state.facts["progress_file"]))
        lines.append(f"epochs of {name} as they end: tail -f {path}")
    return "\n".join(lines)


def _more(state: State) -> str:
    facts = state.facts
    if state.name == "running":
        if facts["images_per_second"] is None:
            return f"{_at(facts['at'])}, the rate is known after the first epoch"
        left = duration(facts["seconds_left"])
        return f"{_at(facts['at'])}, {facts['images_per_second']:.0f} images/s, about {left} left"
    if state.name == "failed":
        why = textwrap.shorten(facts["why"], 200, placeholder=" ...")
        return f"{why} (attempt {facts['attempt']}, {facts['when']})"
    if state.name in ("damaged", "unreadable"):
        return str(facts["why"])
    if state.name == "stopped":
        return f"stopped at {_at(facts['at'])}, rerun the same command to resume"
    if state.name == "diverged":
        where = facts["where"]
        terms = ", ".join(f"{name} {value}" for name, value in where["terms"].items())
        return f"in epoch {where['epoch']}, step {where['step']}: {terms}"
    if state.name == "blocked":
        return f"{facts['by']} diverged"
    return f"in {facts['by']}" if "by" in facts else ""


def _on(state: State) -> str:
    """Return where a run was trained, and how often it was resumed."""
    if not state.facts.get("host"):
        return ""
    job = f", Slurm job {state.facts['slurm_job']}" if state.facts["slurm_job"] else ""
    times = "once" if state.attempts == 2 else f"{state.attempts - 1} times"
    resumed = f", resumed {times}" if state.attempts > 1 else ""
    return f"[{state.facts['host']}{job}{resumed}]"


def _at(at: dict[str, Any] | None) -> str:
    if at is None:
        return "its start"
    stage = "preparation, " if at["stage"] == "prepare" else ""
    return f"{stage}epoch {at['epoch']}/{at['epochs']}"
