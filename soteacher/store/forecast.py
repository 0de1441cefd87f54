"""Forecast of a plan's cost, from its passes, the finished runs of the store and their rates.

Nothing here imports torch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from soteacher.core.errors import UserError
from soteacher.data.memory import preparing_bytes
from soteacher.data.sources.base import Outline
from soteacher.store.run_folder import RunFolder
from soteacher.store.study_data import prepared_of
from soteacher.study.cost import data_bytes, pass_flop, run_bytes, training_bytes
from soteacher.study.gpu_hours import gpu_facts
from soteacher.study.plan import Plan
from soteacher.study.runs import Run
from soteacher.study.specs import RunSpec, fingerprint

log = logging.getLogger("soteacher")


class Kind(NamedTuple):
    """A kind of runs that train at about the same rate."""

    role: str
    network: str
    height: int
    width: int
    precision: str


class Rate(NamedTuple):
    """The rate of one training process."""

    flop_per_second: float
    passes: int
    """Number of passes that the rate is the median of. 0: the rate is given, or it is the median
    of the other kinds of the same role."""
    devices: tuple[str, ...]
    """The devices of those passes."""


class Forecast:
    """The costs of all or some runs of a plan.

    rate : FLOP per second of one training process; None: the rate measured on finished runs.
    parallel : number of training processes at once.
    """

    def __init__(self, plan: Plan, rate: float | None = None, parallel: int = 1) -> None:
        self.plan, self.stated, self.parallel = plan, rate, parallel
        self._outlines = {name: data.source.outline() for name, data in plan.study.data.items()}
        self._passes = {
            run_id: (job.name, plan.runs[run_id].spec.pass_key)
            for run_id, job in plan.job_of.items()
        }
        self.finished = _finished(plan)
        """Id to fingerprint of the runs that are finished in the store."""
        kinds = {self._kind(run) for run in _trained(plan.runs.values())}
        if rate is None:
            known = {
                plan.data_spec(name).canonical: outline for name, outline in self._outlines.items()
            }
            passes = _passes(Path(plan.study.store), known)
            self.rates = _measured(passes, kinds, {*self.finished.values()})
            self.rates |= _guessed(self.rates, kinds)
        else:
            self.rates = dict.fromkeys(kinds, Rate(rate, 0, ()))

    def facts(self) -> dict[str, Any]:
        """Return the whole forecast as JSON values; the most expensive block comes first.

        The costs of a block are those of all runs that it needs, as if it were alone; `only` is the
        number of runs that no other block needs. The tables in `timed` train nothing, and the cost
        of their steps is not counted.
        """
        runs, wanted = self.plan.runs.values(), self.plan.wanted
        blocks = []
        for name in sorted(set().union(*wanted.values())):
            needed = [run for run in runs if name in wanted[run.id]]
            only = sum(wanted[run.id] == {name} for run in needed)
            blocks.append({"block": name, **self.costs(needed), "only": only})
        data = {self.plan.data_spec(name).canonical: name for name in self._outlines}
        left = [run for run in runs if run.id not in self.finished]
        return {
            "study": self.plan.study.study,
            "blocks": sorted(blocks, key=lambda block: -block["flop"]),
            "all": self.costs(runs),
            "to_train": self.costs(left),
            "data_bytes": sum(
                data_bytes(self.plan.data_spec(name), self._outlines[name])
                for name in data.values()
            ),
            "preparing_bytes": {
                name: preparing_bytes(data.source, data.true_labels, self._outlines[name])
                for name, data in self.plan.study.data.items()
            },
            "training_bytes": max(
                (training_bytes(*one) for one in self._together(runs)), default=0
            ),
            "gpu": gpu_facts(self._together(left)),
            "timed": sorted(self.plan.timed),
            "parallel": self.parallel,
            "stated_flop_per_second": self.stated,
            "rates": [kind._asdict() | rate._asdict() for kind, rate in sorted(self.rates.items())],
        }

    def seconds_left(self, left: dict[str, float]) -> float | None:
        """Return the seconds for the rest of some runs, with all processes; None: no known rate.

        left : id of each run to the remaining share of its training.
        """
        flop = self._flop(_distinct(self.plan.runs[run_id] for run_id in left))
        return self._seconds({run_id: left[run_id] * flop[run_id] for run_id in flop})

    def largest_stored_sizes(self, left: int) -> dict[str, int]:
        """Return the largest stored sizes for which preparing and training fit into memory.

        left : bytes that all training processes can use together.   Returns the name of each data
        set with an `input_size` that does not fit and would fit with this smaller stored size.
        """
        sizes = {}
        for name, outline in self._outlines.items():
            needed = partial(self._needed_bytes, name)
            if needed(outline) > left:
                largest = outline.largest_stored_size(needed, left)
                if largest is not None:
                    sizes[name] = largest
        return sizes

    def _needed_bytes(self, name: str, outline: Outline) -> int:
        """Return the memory of a data set's preparation or of all training processes on it."""
        data = self.plan.study.data[name]
        runs = _trained(run for run in self.plan.runs.values() if run.data == name)
        passes = ([run.spec for run in one] for one in self._by_pass(runs).values())
        training = max((training_bytes(specs, outline) for specs in passes), default=0)
        preparing = preparing_bytes(data.source, data.true_labels, outline)
        return max(preparing, self.parallel * training)

    def costs(self, runs: Iterable[Run]) -> dict[str, Any]:
        """Return counts, FLOP, kept bytes and seconds (None: no known rate) of some runs."""
        runs = list(runs)
        distinct = _distinct(runs)
        flop = self._flop(distinct)
        return {
            "teachers": sum(run.teacher is None for run in runs),
            "students": sum(run.teacher is not None for run in runs),
            "in_store": sum(run.id in self.finished for run in runs),
            "flop": sum(flop.values()),
            "bytes": sum(run_bytes(run.spec, self._outlines[run.data]) for run in distinct),
            "seconds": self._seconds(flop),
        }

    def _together(self, runs: Iterable[Run]) -> list[tuple[list[RunSpec], Outline]]:
        """Return the specs of the runs of each pass, and the sizes of their data."""
        passes = self._by_pass(_trained(runs)).values()
        return [([run.spec for run in one], self._outlines[one[0].data]) for one in passes]

    def _by_pass(self, runs: list[Run]) -> dict[tuple[str, str], list[Run]]:
        passes: dict[tuple[str, str], list[Run]] = {}
        for run in runs:
            passes.setdefault(self._passes[run.id], []).append(run)
        return passes

    def _flop(self, runs: list[Run]) -> dict[str, float]:
        """Return run id to FLOP; the shared cost of a pass is divided among its runs."""
        flop: dict[str, float] = {}
        for members in self._by_pass(runs).values():
            shares = pass_flop([run.spec for run in members], self._outlines[members[0].data])
            flop |= zip((run.id for run in members), shares, strict=True)
        return flop

    def _seconds(self, flop: dict[str, float]) -> float | None:
        kinds = {run.id: self._kind(run) for run in _trained(self.plan.runs[i] for i in flop)}
        if not self.rates.keys() >= {*kinds.values()}:
            return None
        seconds = sum(flop[i] / self.rates[kind].flop_per_second for i, kind in kinds.items())
        return seconds / self.parallel

    def _kind(self, run: Run) -> Kind:
        return _kind(run.spec, self._outlines[run.data])


def _distinct(runs: Iterable[Run]) -> list[Run]:
    """Return the runs without duplicates: equal runs of one data set are trained and kept once."""
    return list({(run.data, run.spec.sha256): run for run in runs}.values())


def _trained(runs: Iterable[Run]) -> list[Run]:
    """Return the distinct runs that are trained: an oracle and an imported teacher take no time."""
    return [run for run in _distinct(runs) if run.spec.is_trained]


def _kind(spec: RunSpec, outline: Outline) -> Kind:
    return Kind(spec.role, spec.network.name, outline.height, outline.width, spec.precision)


def _finished(plan: Plan) -> dict[str, str]:
    """Return id to fingerprint of the plan's finished runs; unprepared data have none."""
    finished = {}
    data = prepared_of(plan)
    for run in plan.runs.values():
        if run.data in data:
            of_run = fingerprint(run.spec, data[run.data].sha256)
            try:
                if RunFolder(Path(plan.study.store), of_run, run.id).finished():
                    finished[run.id] = of_run
            except UserError as error:  # its record is damaged
                log.warning("%s", error)
    return finished


def _measured(
    passes: Iterable[tuple[list[dict[str, Any]], Outline]], kinds: set[Kind], planned: set[str]
) -> dict[Kind, Rate]:
    """Return the median rate of each kind, over passes with planned runs if there are any."""
    rates_of: dict[Kind, list[tuple[bool, float, str]]] = {}
    for records, outline in passes:
        specs = [RunSpec.from_json(record["spec"]) for record in records]
        seconds = max(record["seconds"] for record in records)
        with suppress(UserError, ZeroDivisionError):  # an unknown network, or seconds that are 0
            # the seconds of a run are those of its pass, so the FLOP must be those of the pass
            rate = sum(pass_flop(specs, outline)) / seconds
            is_planned = not planned.isdisjoint(record["fingerprint"] for record in records)
            for kind in {_kind(spec, outline) for spec in specs} & kinds:
                device = records[0]["trained_on"]["device"]
                rates_of.setdefault(kind, []).append((is_planned, rate, device))
    rates = {}
    for kind, measured in rates_of.items():
        chosen = [one for one in measured if one[0]] or measured
        devices = tuple(sorted({device for _, _, device in chosen}))
        rates[kind] = Rate(median(rate for _, rate, _ in chosen), len(chosen), devices)
    return rates


def _guessed(rates: dict[Kind, Rate], kinds: set[Kind]) -> dict[Kind, Rate]:
    """Return the rates of kinds without a measured run: the median rate of their role."""
    guessed = {}
    for kind in kinds - rates.keys():
        role = [rate.flop_per_second for other, rate in rates.items() if other.role == kind.role]
        if role:
            guessed[kind] = Rate(median(role), 0, ())
    return guessed


def _passes(
    store: Path, known: dict[str, Outline]
) -> Iterator[tuple[list[dict[str, Any]], Outline]]:
    """Yield the records of the finished runs of each pass, and the sizes of their data.

    known : sizes of data sets by their specs. The sizes of others follow from their specs; passes
    on data sets without known sizes are left out.
    """
    outlines = dict(known)
    passes: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for path in sorted(store.glob("runs/*/run.json")):
        # a record may be damaged, from another version of a part, or its data may be deleted
        with suppress(UserError):
            record = RunFolder(store, path.parent.name, path.parent.name).record()
            if record is None or record["status"] != "done" or not record["attempts"]:
                continue
            if record["spec"]["role"] == "preparation":
                continue
            spec = RunSpec.from_json(record["spec"])
            data = spec.data.canonical
            if data not in outlines:
                outlines[data] = spec.data.open_source().outline()
            last = record["attempts"][-1]
            process = (last["host"], str(last["slurm_job"]), str(last["pid"]))
            passes.setdefault((*process, data, spec.pass_key), []).append(record)
    for (*_, data, _), records in passes.items():
        yield records, outlines[data]
