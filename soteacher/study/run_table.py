"""What identifies each run of a study: the first columns of `results/<study>/runs.csv`."""

from __future__ import annotations

from typing import Any

from soteacher.study.plan import Plan
from soteacher.study.runs import Run

RUNS_FORMAT = 1
"""Version of the format that `runs_record` returns. It is raised when the format changes, so that
files of an earlier version are recognized."""
IDENTITY = (
    *("study", "data", "pair", "method", "distiller", "seed", "role", "network"),
    *("teacher_network", "teacher_epoch", "run", "teacher"),
)
"""Names of the values of a run in `runs_record`. `pair`, `distiller` and `teacher...` are empty for
teachers; `teacher_epoch` is empty if a student learns from the teacher's last epoch."""


def runs_record(plan: Plan) -> dict[str, Any]:
    """Return the values of `IDENTITY` of every run of a study, and the hashes of the runs' specs.

    A study can have thousands of runs, so a run has only a list of its values.
    """
    ordered = sorted(plan.runs.values(), key=lambda run: run.id)
    return {
        "format": RUNS_FORMAT,
        "columns": IDENTITY,
        "identities": [[plan.study.study, *_identity(run)] for run in ordered],
        "runs": {run.id: run.short_sha256 for run in ordered},
    }


def _identity(run: Run) -> tuple[Any, ...]:
    """Return the values of `IDENTITY` after the study."""
    teacher, epoch = run.teacher, run.spec.teacher_epoch
    return (
        run.data,
        run.pair,
        run.method,
        run.distiller,
        run.spec.seed,
        run.role,
        run.spec.network.name,
        teacher.spec.network.name if teacher else "",
        "" if epoch is None else epoch,
        run.id,
        teacher.id if teacher else "",
    )
