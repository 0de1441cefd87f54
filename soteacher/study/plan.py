"""A study expanded: which networks are trained, which of them share a process, who asks for them.

A run's *spec* says all that makes it what it is: settings that differ from their defaults and the
revision of each part, and for a student its teacher's spec. It is known before anything runs. Its
*fingerprint* adds the sha256 of the prepared data; it is made in the job and keys the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from soteacher.distillers.base import Column, Distiller
from soteacher.errors import UserError
from soteacher.models import catalogue
from soteacher.regularizers.base import ImageChange, Regularizer
from soteacher.settings import canonical
from soteacher.study.blocks import Cell, Clocked, Part, Weight, cells, clocked, parts, weights
from soteacher.study.change import Change
from soteacher.study.kinds import OverheadTable, WeightTable
from soteacher.study.schema import DataSet, Study, networks, regularizers

LOOP = 1
"""Revision of the training loop: a new number where the same settings train to other bits."""
STREAM = 1
"""Revision of the stream of batches (order, crops, flips, drawn labels)."""
TRUE_LABELS = 1
"""Revision of how true label distributions are made."""


SHORT = 16
"""Hexadecimal digits of a spec's hash that downstream rules compare."""
MOST_JOBS = 1000
"""Whose measures one table or figure may need: a shell command that names the files of many more
would have 128 KiB, and cannot be run on Linux."""


def sha(value: Any) -> str:
    """sha256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def fingerprint(spec: dict[str, Any], data_sha256: str) -> str:
    """What the store knows a run by: its spec, with its teacher's in it, and its prepared data."""
    return sha({"spec": spec, "data": data_sha256})


def as_teacher(spec: dict[str, Any]) -> dict[str, Any]:
    """What a student's spec says of its teacher: which checkpoints are kept changes no student."""
    recipe = {name: value for name, value in spec["recipe"].items() if name != "keep_every"}
    return spec | {"recipe": recipe}


@dataclass(frozen=True)
class Run:
    """One network to train. Its id is readable and is its path; its spec is what it is."""

    id: str
    data: str
    """The data set's name in the study."""
    spec: dict[str, Any]
    teacher: Run | None = None
    table5: Column = "standard"
    """Of a teacher: which of the two weights of Table 5 its students have."""

    @cached_property
    def spec_sha256(self) -> str:
        """The spec's hash: what a result must carry to belong to this run."""
        return sha(self.spec)


@dataclass(frozen=True)
class Job:
    """Runs trained in one process; their one output is a manifest."""

    name: str
    role: str
    data: str
    runs: tuple[Run, ...]

    @property
    def asked(self) -> dict[str, dict[str, Any]]:
        """All that the job trains: run id to its spec, and its teacher's id if it has one."""
        runs: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            runs[run.id] = {"spec": run.spec}
            if run.teacher:
                runs[run.id]["teacher"] = run.teacher.id
        return runs


@dataclass(frozen=True)
class Plan:
    """Everything a study asks for."""

    study: Study
    tables: dict[str, tuple[Cell, ...]] = field(default_factory=dict)
    figures: dict[str, tuple[Part, ...]] = field(default_factory=dict)
    wanted: dict[str, set[str]] = field(default_factory=dict)
    """Run id to the names of the tables and figures that ask for it, through its students too."""
    runs: dict[str, Run] = field(default_factory=dict)
    clocked: dict[str, tuple[Clocked, ...]] = field(default_factory=dict)
    """Of the tables that time training steps, the networks: nothing is trained for them."""
    weights: dict[str, tuple[Weight, ...]] = field(default_factory=dict)
    """Of the tables that show distillers' weights, those."""
    _methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Data set to what each teacher method is there."""

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

    def data_spec(self, name: str) -> dict[str, Any]:
        """What the prepared images of a data set are."""
        return _data_spec(self.study.data[name])

    def runs_of(self, block: str) -> list[Run]:
        """The runs whose measures a table or figure shows, each once."""
        shown = [run for cell in self.tables.get(block, ()) for run in cell.runs]
        for part in self.figures.get(block, ()):
            shown += part.teachers + part.runs
        return list({run.id: run for run in shown}.values())

    def teacher(
        self, block: str, pair_name: str, method: str, seed: int, change: Change | None = None
    ) -> Run:
        """The run of a pair's teacher, which from now on the block asks for."""
        return self._add(block, self.teacher_run(pair_name, method, seed, change))

    def teacher_run(
        self, pair_name: str, method: str, seed: int, change: Change | None = None
    ) -> Run:
        """The run of a pair's teacher; nobody asks for it by that.

        change : of one setting of the method. What then is another method of the study is that.
        """
        study = self.study
        pair = study.pairs[pair_name]
        network, _ = networks(pair_name, pair)
        regularizers = self._regularizers(method, pair.data, change)
        terms = {name: _term_spec(term) for name, term in regularizers.items()}
        table5 = study.teachers[method].table5
        alike = self._alike(terms, pair.data)
        if change is None:  # the first method that is the same, and has students with the same
            method = next(name for name in alike if study.teachers[name].table5 == table5)
        elif alike:
            method, table5 = alike[0], study.teachers[alike[0]].table5
        else:
            method = f"{method}.{change}"
        recipe = study.recipes[pair.teacher_recipe].for_network(network)
        spec = _spec(study, "teacher", pair.data, network, recipe.spec(), terms, seed)
        for term in regularizers.values():
            if isinstance(term, ImageChange) and term.views != 1:
                spec["stream"]["views"] = term.views
        run_id = f"{pair.data}/{network}/{method}/seed{seed}"
        return Run(run_id, pair.data, spec, table5=table5)

    def student(
        self, block: str, pair_name: str, distiller: str, teacher: Run, epoch: int | None = None
    ) -> Run:
        """The run of a pair's student of that teacher, or of its weights of an earlier epoch."""
        study = self.study
        pair = study.pairs[pair_name]
        _, network = networks(pair_name, pair)
        student = study.distillers[distiller]
        recipe = study.recipes[pair.student_recipe].for_network(network).spec()
        term = student.distiller.for_teacher(teacher.table5)
        terms = {student.method: _term_spec(term)}
        spec = _spec(study, "student", pair.data, network, recipe, terms, teacher.spec["seed"])
        spec = as_teacher(spec) | {"teacher": as_teacher(teacher.spec)}
        if term.turns != 1:
            spec["stream"]["turns"] = term.turns
        home = teacher.id
        last = teacher.spec["recipe"]["epochs"]
        _check_kept(
            f"{block}: {distiller}",
            term,
            recipe["epochs"],
            teacher,
            last if epoch is None else epoch,
        )
        if epoch is not None and epoch != last:
            spec["teacher_epoch"] = epoch
            home = f"{teacher.id}/epoch{epoch:03d}"
        return self._add(block, Run(f"{home}/{network}/{distiller}", pair.data, spec, teacher))

    def _regularizers(
        self, method: str, data: str, change: Change | None
    ) -> dict[str, Regularizer]:
        terms = regularizers(self.study, method, data)
        return terms if change is None else change.of(terms)

    def _alike(self, terms: dict[str, Any], data: str) -> list[str]:
        """The methods of the study that are these terms, in its order."""
        if data not in self._methods:
            self._methods[data] = {}
            for name in self.study.teachers:
                with suppress(UserError):  # where a method has no weight for this data set
                    own = self._regularizers(name, data, None)
                    self._methods[data][name] = {n: _term_spec(term) for n, term in own.items()}
        return [name for name, own in self._methods[data].items() if own == terms]

    def _add(self, block: str, run: Run) -> Run:
        known = self.runs.setdefault(run.id, run)
        if known.spec != run.spec:
            raise UserError(
                f"{block}: two pairs of the study train '{run.id}' with different recipes; "
                "a network of one data set and method has one recipe in a study"
            )
        self.wanted.setdefault(run.id, set()).add(block)
        return known

    def clock(self, table: str) -> dict[str, Any]:
        """What a table times: how many steps, and of each network its methods, in their order."""
        block = self.study.tables[table]
        assert isinstance(block, OverheadTable)
        networks = []
        for made in self.clocked[table]:
            runs = [{"method": m, "id": run.id, "spec": run.spec} for m, run in made.runs.items()]
            networks.append({"network": made.network, "data": made.data, "runs": runs})
        return {"steps": block.steps, "networks": networks}

    def data_location(self, name: str) -> dict[str, Any]:
        """Where the images of a data set are found: no part of what a run is."""
        return self.study.data[name].source.location()

    def jobs_of(self, runs: Iterable[Run]) -> list[Job]:
        """The jobs that train these runs, each once, in a fixed order."""
        jobs = {(self.job_of[run.id].role, self.job_of[run.id].name) for run in runs}
        return [self.jobs[role][name] for role, name in sorted(jobs)]

    def _jobs(self, role: str) -> Iterable[Job]:
        groups: dict[tuple[str, tuple[str, ...]], list[Run]] = {}
        for run in self.runs.values():
            if run.spec["role"] == role:
                asked_by = tuple(sorted(self.wanted[run.id]))
                groups.setdefault((run.data, asked_by), []).append(run)
        for (data, _), runs in sorted(groups.items()):
            for members in _packed(runs, self.study.runs_per_job):
                name = f"{data}-{sha([run.id for run in members])[:10]}"
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


def _check_kept(who: str, term: Distiller, epochs: int, teacher: Run, last: int) -> None:
    """The teacher must keep its weights of every epoch that a distiller takes them of."""
    recipe = teacher.spec["recipe"]
    every, final = recipe.get("keep_every", 0), recipe["epochs"]
    asked = sorted({*term.teacher_epochs(epochs, last)})
    lost = [n for n in asked if n != final and (n < 1 or not every or n % every)]
    if lost:
        kept = f"every {every} of its {final}" if every else f"the last of its {final} only"
        raise UserError(
            f"{who} learns from {teacher.id} as it was after epochs "
            f"{', '.join(map(str, asked))}, but its recipe keeps the weights of {kept}; set "
            "keep_every to a divisor of those, or ask for others"
        )


def expand(study: Study) -> Plan:
    """Expand a study into runs, cells and jobs. `UserError` where two runs would share an id."""
    plan = Plan(study)
    for name, table in study.tables.items():
        plan.tables[name] = tuple(cells(plan, name, table))
        if isinstance(table, OverheadTable):
            plan.clocked[name] = tuple(clocked(plan, table))
        if isinstance(table, WeightTable):
            plan.weights[name] = tuple(weights(study, table))
    for name, figure in study.figures.items():
        plan.figures[name] = tuple(parts(plan, name, figure))
    for name in study.blocks:
        jobs = len(plan.jobs_of(plan.runs_of(name)))
        if jobs > MOST_JOBS:
            raise UserError(
                f"{name} needs {jobs} jobs, more than one command can name ({MOST_JOBS}): raise "
                f"runs_per_job, which is {study.runs_per_job}"
            )
    return plan


def _spec(
    study: Study,
    role: str,
    data: str,
    network: str,
    recipe: dict[str, Any],
    terms: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    family, _ = catalogue.find(network)
    spec: dict[str, Any] = {
        "role": role,
        "loop": LOOP,
        "data": _data_spec(study.data[data]),
        "stream": {"revision": STREAM, **study.data[data].augment.spec()},
        "network": {"name": network, "revision": family.revision},
        "recipe": recipe,
        "terms": terms,
        "seed": seed,
    }
    if study.precision != "float32":
        spec["precision"] = study.precision
    return spec


def _data_spec(data: DataSet) -> dict[str, Any]:
    spec: dict[str, Any] = {"source": type(data.source).__module__.rpartition(".")[2]}
    spec |= {"revision": data.source.revision, **data.source.spec()}
    if data.true_labels is not None:
        spec["true_labels"] = {"revision": TRUE_LABELS, **data.true_labels.spec()}
    return spec


def _term_spec(term: Any) -> dict[str, Any]:
    return {"revision": term.revision, **term.spec()}
