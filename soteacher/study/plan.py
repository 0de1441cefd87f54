"""A study's plan: the networks to train, the jobs that train them, and what each block shows.

`soteacher.study.expand` builds a plan, which does not change afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from types import MappingProxyType
from typing import Any, TypeVar

from soteacher.core.errors import UserError, unknown
from soteacher.core.hashing import json_sha256
from soteacher.data.spec import DataSpec
from soteacher.study.contents import Content
from soteacher.study.runs import Job, MeasureJob, Run
from soteacher.study.study import Study

MEASURED_TOGETHER = 32
"""Maximum number of runs in a job that measures. The start of a job takes as long as to measure a
few of them."""

AnyJob = TypeVar("AnyJob", Job, MeasureJob)


@dataclass(frozen=True)
class Plan:
    """Everything that a study needs. Its mappings are read-only."""

    study: Study
    runs: Mapping[str, Run]
    """Run id to run."""
    wanted: Mapping[str, frozenset[str]]
    """Run id to the names of the tables and figures that need the run or one of its students."""
    contents: Mapping[str, Content]
    """Name of a table or figure to what it shows; without those that are impossible."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """Name of a table or figure to the reason why it is impossible with the rest of the study."""

    def check(self, blocks: Iterable[str]) -> None:
        """Raise `UserError` if one of these tables and figures is impossible."""
        needed = set(blocks)
        for name, reason in self.impossible.items():
            if name in needed:
                raise UserError(reason)

    @cached_property
    def jobs(self) -> Mapping[str, Mapping[str, Job]]:
        """Role to name to job. The runs of a job are all needed by the same tables and figures."""
        return MappingProxyType(
            {
                role: MappingProxyType({job.name: job for job in self._jobs(role)})
                for role in ("teacher", "student")
            }
        )

    @cached_property
    def job_of(self) -> Mapping[str, Job]:
        """Run id to its job."""
        return _by_run(self.jobs)

    @cached_property
    def measure_jobs(self) -> Mapping[str, Mapping[str, MeasureJob]]:
        """Role to name to the job that measures runs. They are needed by the same blocks."""
        return MappingProxyType(
            {
                role: MappingProxyType({job.name: job for job in self._measure_jobs(role)})
                for role in self.jobs
            }
        )

    @cached_property
    def measure_job_of(self) -> Mapping[str, MeasureJob]:
        """Run id to the job that measures it."""
        return _by_run(self.measure_jobs)

    def only(self, blocks: Iterable[str]) -> Plan:
        """Return the plan of these tables and figures alone, with the same jobs and their data.

        Raises `UserError` if one of them is unknown or impossible.
        """
        chosen = tuple(dict.fromkeys(blocks))
        for name in chosen:
            if name not in self.study.blocks:
                raise UserError(unknown("table or figure", name, self.study.blocks))
        self.check(chosen)
        contents = {name: self.contents[name] for name in chosen}
        runs = {i: run for i, run in self.runs.items() if not self.wanted[i].isdisjoint(chosen)}
        timed = (content.timing_request for content in contents.values())
        used = {network["data"] for request in timed if request for network in request["networks"]}
        used |= {run.data for run in runs.values()}
        data = {name: entry for name, entry in self.study.data.items() if name in used}
        return replace(
            self,
            study=self.study.model_copy(update={"data": MappingProxyType(data)}),
            runs=MappingProxyType(runs),
            wanted=MappingProxyType({run_id: self.wanted[run_id] for run_id in runs}),
            contents=MappingProxyType(contents),
        )

    def data_spec(self, name: str) -> DataSpec:
        """Return the spec of the prepared images of a data set."""
        return self.study.data[name].data_spec

    def data_location(self, name: str) -> dict[str, Any]:
        """Return where a data set is stored; the location is not part of a spec."""
        return self.study.data[name].location

    def runs_of(self, block: str) -> tuple[Run, ...]:
        """Return the runs of a table or figure, without duplicates."""
        return self.contents[block].runs

    @property
    def timed(self) -> dict[str, dict[str, Any]]:
        """Name to timing request of the tables of step times, which train no networks."""
        requests = {name: content.timing_request for name, content in self.contents.items()}
        return {name: request for name, request in requests.items() if request is not None}

    def jobs_of(self, runs: Iterable[Run]) -> list[Job]:
        """Return the jobs that train these runs, without duplicates and in a fixed order."""
        return _in_order(self.job_of[run.id] for run in runs)

    def measure_jobs_of(self, runs: Iterable[Run]) -> list[MeasureJob]:
        """Return the jobs that measure these runs, without duplicates and in a fixed order."""
        return _in_order(self.measure_job_of[run.id] for run in runs)

    def _shared(self, run: Run) -> tuple[str, tuple[str, ...]]:
        """Return what the runs of a job have in common: the data, and the blocks that need them."""
        return run.data, tuple(sorted(self.wanted[run.id]))

    def _measure_jobs(self, role: str) -> Iterable[MeasureJob]:
        groups = groupby(self.jobs[role].values(), key=lambda job: self._shared(job.runs[0]))
        for (data, _), jobs in groups:
            for together in _together(jobs):
                name = f"{data}-{json_sha256([job.name for job in together])[:10]}"
                yield MeasureJob(name, role, data, together)

    def _jobs(self, role: str) -> Iterable[Job]:
        groups: dict[tuple[str, tuple[str, ...]], list[Run]] = {}
        for run in self.runs.values():
            if run.role == role:
                groups.setdefault(self._shared(run), []).append(run)
        for (data, _), runs in sorted(groups.items()):
            for members in _packed(runs, self.study.runs_per_job):
                name = f"{data}-{json_sha256([run.id for run in members])[:10]}"
                yield Job(name, role, data, members)


def _by_run(jobs: Mapping[str, Mapping[str, AnyJob]]) -> Mapping[str, AnyJob]:
    every = (job for named in jobs.values() for job in named.values())
    return MappingProxyType({run.id: job for job in every for run in job.runs})


def _in_order(jobs: Iterable[AnyJob]) -> list[AnyJob]:
    named = {(job.role, job.name): job for job in jobs}
    return [named[key] for key in sorted(named)]


def _together(jobs: Iterable[Job]) -> Iterable[tuple[Job, ...]]:
    """Divide jobs into groups of at most `MEASURED_TOGETHER` runs, or of one job."""
    group: list[Job] = []
    size = 0
    for job in jobs:
        if group and size + len(job.runs) > MEASURED_TOGETHER:
            yield tuple(group)
            group, size = [], 0
        group.append(job)
        size += len(job.runs)
    if group:
        yield tuple(group)


def _packed(runs: list[Run], size: int) -> Iterable[tuple[Run, ...]]:
    """Divide runs into jobs of at most `size`; a teacher's students share a job if they fit."""
    siblings: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.id):
        siblings.setdefault(run.teacher.id if run.teacher else run.id, []).append(run)
    job: list[Run] = []
    for family in siblings.values():
        if job and len(job) + len(family) > size:
            yield tuple(job)
            job = []
        job += family
        while len(job) > size:
            yield tuple(job[:size])
            job = job[size:]
    if job:
        yield tuple(job)
