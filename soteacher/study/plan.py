"""A study's plan: the networks to train, the jobs that train them, and what each block shows.

`soteacher.study.expand` builds a plan; afterwards nothing in it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from soteacher.core.hashing import json_sha256
from soteacher.data.spec import DataSpec
from soteacher.study.contents import Cell, Part, TimedNetwork, Weight
from soteacher.study.runs import Job, Run
from soteacher.study.schema import Study


@dataclass(frozen=True)
class Plan:
    """Everything a study asks for. Its mappings are read-only."""

    study: Study
    runs: Mapping[str, Run]
    """Id to run."""
    wanted: Mapping[str, frozenset[str]]
    """Run id to the names of the tables and figures that ask for it, through its students too."""
    tables: Mapping[str, tuple[Cell, ...]]
    figures: Mapping[str, tuple[Part, ...]]
    timed: Mapping[str, tuple[TimedNetwork, ...]]
    """Of the tables that time training steps, the networks: nothing is trained for them."""
    weights: Mapping[str, tuple[Weight, ...]]
    """Of the tables that show distillers' weights, those."""

    @cached_property
    def jobs(self) -> dict[str, dict[str, Job]]:
        """Role to name to job. Runs that other blocks ask for are never in one job."""
        return {
            role: {job.name: job for job in self._jobs(role)} for role in ("teacher", "student")
        }

    @cached_property
    def job_of(self) -> dict[str, Job]:
        """Run id to its job."""
        jobs = (job for named in self.jobs.values() for job in named.values())
        return {run.id: job for job in jobs for run in job.runs}

    def data_spec(self, name: str) -> DataSpec:
        """What the prepared images of a data set are."""
        return self.study.data[name].data_spec

    def data_location(self, name: str) -> dict[str, Any]:
        """Where the images of a data set are found: no part of what a run is."""
        return self.study.data[name].source.location()

    def runs_of(self, block: str) -> list[Run]:
        """The runs whose measures a table or figure shows, each once."""
        shown = [run for cell in self.tables.get(block, ()) for run in cell.runs]
        for part in self.figures.get(block, ()):
            shown += part.teachers + part.runs
        return list({run.id: run for run in shown}.values())

    def timing_request(self, table: str) -> dict[str, Any]:
        """What a table times: how many steps, and of each network its methods, in their order."""
        networks = []
        for made in self.timed[table]:
            runs = [
                {"method": method, "id": run.id, "spec": run.spec.to_json()}
                for method, run in made.runs.items()
            ]
            networks.append({"network": made.network, "data": made.data, "runs": runs})
        return {"steps": self.study.tables[table].steps, "networks": networks}

    def jobs_of(self, runs: Iterable[Run]) -> list[Job]:
        """The jobs that train these runs, each once, in a fixed order."""
        jobs = {(self.job_of[run.id].role, self.job_of[run.id].name) for run in runs}
        return [self.jobs[role][name] for role, name in sorted(jobs)]

    def _jobs(self, role: str) -> Iterable[Job]:
        groups: dict[tuple[str, tuple[str, ...]], list[Run]] = {}
        for run in self.runs.values():
            if run.role == role:
                asked_by = tuple(sorted(self.wanted[run.id]))
                groups.setdefault((run.data, asked_by), []).append(run)
        for (data, _), runs in sorted(groups.items()):
            for members in _packed(runs, self.study.runs_per_job):
                name = f"{data}-{json_sha256([run.id for run in members])[:10]}"
                yield Job(name, role, data, members)


def _packed(runs: list[Run], size: int) -> Iterable[tuple[Run, ...]]:
    """Cut runs into jobs of at most `size`, students of one teacher together if they fit."""
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
