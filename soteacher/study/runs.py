"""Runs, and the jobs that train them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soteacher.distillers.base import Column
from soteacher.study.specs import SHORT, RunSpec


@dataclass(frozen=True)
class Run:
    """One network to train. Its id is its readable path; its spec determines its result."""

    id: str
    data: str
    """Name of the data set in the study."""
    spec: RunSpec
    teacher: Run | None = None
    table5: Column = "standard"
    """Column of Table 5 that gives the weights of a teacher's students."""
    pair: str = ""
    """Name of a student's pair in the study, the first one that needs it; empty for teachers."""
    weights: str | None = None
    """Path of the file of an imported teacher's weights, which is not part of its spec."""
    alone: bool = False
    """Whether it is a student alone, which has the role of a teacher but no students."""

    @property
    def role(self) -> str:
        """`teacher` or `student`."""
        return self.spec.role

    @property
    def method(self) -> str:
        """The teacher method of the run, or of its teacher, as the run id has it.

        It is a name of the study, with the changed setting if a figure changes one.
        """
        return self.id.split("/")[2]

    @property
    def distiller(self) -> str:
        """The name of a student's distiller in the study; empty for teachers."""
        return self.id.rpartition("/")[2] if self.teacher else ""

    @property
    def short_sha256(self) -> str:
        """The start of the spec's hash, which later rules compare."""
        return self.spec.sha256[:SHORT]


def in_id(network: str) -> str:
    """Return a network's name as ids of runs have it: `timm.resnet18` for `timm/resnet18`."""
    return network.replace("/", ".")


@dataclass(frozen=True)
class Job:
    """Runs that one process trains; the output of a job is one manifest."""

    name: str
    role: str
    data: str
    runs: tuple[Run, ...]

    @property
    def request(self) -> dict[str, dict[str, Any]]:
        """Run id to the run's spec; for students, the id of the teacher; the path of weights."""
        runs: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            runs[run.id] = {"spec": run.spec.to_json()}
            if run.teacher:
                runs[run.id]["teacher"] = run.teacher.id
            if run.weights:
                runs[run.id]["weights"] = run.weights
        return runs


@dataclass(frozen=True)
class MeasureJob:
    """Jobs with the same data, whose runs one process measures; its output is their measures."""

    name: str
    role: str
    data: str
    jobs: tuple[Job, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of all its jobs."""
        return tuple(run for job in self.jobs for run in job.runs)
