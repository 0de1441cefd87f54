"""Runs, and the jobs that train them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soteacher.distillers.base import Column
from soteacher.study.specs import SHORT, RunSpec


@dataclass(frozen=True)
class Run:
    """One network to train. Its id is readable and is its path; its spec is what it is."""

    id: str
    data: str
    """The data set's name in the study."""
    spec: RunSpec
    teacher: Run | None = None
    table5: Column = "standard"
    """Of a teacher: which of the two weights of Table 5 its students have."""

    @property
    def role(self) -> str:
        """`teacher` or `student`."""
        return self.spec.role

    @property
    def short_sha256(self) -> str:
        """The beginning of the spec's hash, which downstream rules compare."""
        return self.spec.sha256[:SHORT]


@dataclass(frozen=True)
class Job:
    """Runs trained in one process; their one output is a manifest."""

    name: str
    role: str
    data: str
    runs: tuple[Run, ...]

    @property
    def request(self) -> dict[str, dict[str, Any]]:
        """All that the job trains: run id to its spec, and its teacher's id if it has one."""
        runs: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            runs[run.id] = {"spec": run.spec.to_json()}
            if run.teacher:
                runs[run.id]["teacher"] = run.teacher.id
        return runs
