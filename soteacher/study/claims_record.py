"""The input of the claims: which methods of a study play which part in the paper's claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from soteacher.study.contents import Points, is_papers
from soteacher.study.kinds.comparison import pair_deviations, run_deviations
from soteacher.study.kinds.tables.overhead import StepTimes
from soteacher.study.paper import TEACHERS
from soteacher.study.plan import Plan
from soteacher.study.runs import Run
from soteacher.study.schema import networks
from soteacher.study.spec_parts import TermSpec
from soteacher.study.specs import RunSpec
from soteacher.study.summary import planned

CLAIMS_FORMAT = 1
"""Version of the format that `claims_record` returns. It is raised when the format changes, so that
files of an earlier version are recognized."""
REFERENCE = "standard"
"""Role of the method that the others are compared with."""
SWEPT = "swept"
"""Role of a method with one setting changed, of a figure of kind `sweep`."""
ROLES = {frozenset(terms): role for role, terms in TEACHERS.items() if terms}
"""The regularizers of the paper's methods, to their names in the paper."""


def claims_record(plan: Plan) -> dict[str, Any]:
    """Return the input of `soteacher claims`, as JSON values.

    Methods are recognized by their regularizers, not by their names. `methods` has the role of each
    teacher method of each data set, in the order of the study, with the settings of its
    regularizers. `papers` lists the teachers (data, network, method) and the students (pair,
    distiller, method) that are trained as in the paper's experiment.
    """
    study = plan.study
    pairs = {}
    for name, pair in study.pairs.items():
        teacher, student = networks(name, pair)
        pairs[name] = {"data": pair.data, "teacher": teacher, "student": student}
    timed = [content for content in plan.contents.values() if isinstance(content, StepTimes)]
    timed_runs = [run for content in timed for one in content.networks for _, run in one.runs]
    groups = _without_seeds(plan.runs.values())
    methods = _methods(plan, _without_seeds([*plan.runs.values(), *timed_runs]), pairs)
    return {
        "study": study.study,
        "format": CLAIMS_FORMAT,
        "runs": planned(plan.runs.values()),
        "pairs": [{"pair": name} | values for name, values in pairs.items()],
        "methods": methods,
        "distillers": [[name, student.method] for name, student in study.distillers.items()],
        "sweeps": _sweeps(plan, pairs),
        "papers": _papers(plan, groups, pairs),
        "timed": {
            name: content.record()["timed"]
            for name, content in plan.contents.items()
            if content.timing_request is not None
        },
    }


def role_of(terms: Mapping[str, TermSpec]) -> str:
    """Return the paper's name of a method with these regularizers.

    A single other regularizer is its own role; a combination that is not in the paper is joined
    with `+`. A regularizer with a weight of 0 does not count.
    """
    used = frozenset(name for name, term in terms.items() if term.settings.get("weight") != 0)
    return ROLES.get(used, "+".join(sorted(used)))


def _role(spec: RunSpec) -> str:
    """Return `role_of` a teacher, with what no paper's role has: held-out images, fine-tuning."""
    added = [spec.held_out.use] if spec.held_out else ["fine_tune"] if spec.fine_tune else []
    return "+".join(filter(None, (role_of(spec.terms), *added)))


def _without_seeds(runs: Iterable[Run]) -> list[Run]:
    """Return one run of each kind; the others differ only in the seed."""
    kinds: dict[tuple[str, ...], Run] = {}
    for run in runs:
        parts = run.id.split("/")
        kinds.setdefault((*parts[:3], *parts[4:]), run)
    return list(kinds.values())


def _methods(
    plan: Plan, groups: list[Run], pairs: dict[str, dict[str, str]]
) -> list[dict[str, Any]]:
    """Return the teacher methods of each data set with their roles, in the study's order.

    Of the methods without regularizers, only the first one that trains a pair's teacher is the
    reference.
    """
    order = {name: place for place, name in enumerate(plan.study.teachers)}
    networks_of_pairs = {(pair["data"], pair["teacher"]) for pair in pairs.values()}
    trained: dict[tuple[str, str], Run] = {}
    taught: dict[tuple[str, str], Run] = {}
    for run in groups:
        if run.teacher is not None:
            taught.setdefault((run.data, run.method), run.teacher)
        elif (run.data, run.spec.network.name) in networks_of_pairs:
            trained.setdefault((run.data, run.method), run)
    methods: list[dict[str, Any]] = []
    with_reference: set[str] = set()
    known = (taught | trained).items()
    for (data, method), run in sorted(known, key=lambda one: order.get(one[0][1], len(order))):
        role = SWEPT if "." in method else _role(run.spec)
        is_plain = role == "" and run.spec.is_trained and method in order
        is_plain = is_plain and (data, method) in trained
        if is_plain and data not in with_reference:
            with_reference.add(data)
            role = REFERENCE
        terms = {name: term.to_json() for name, term in run.spec.terms.items()}
        methods.append({"data": data, "method": method, "role": role, "terms": terms})
    return methods


def _sweeps(plan: Plan, pairs: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """Return the values of each swept setting, with the method of each value, in their order."""
    sweeps: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for name, content in plan.contents.items():
        if plan.study.blocks[name].kind == "sweep" and isinstance(content, Points):
            for point in content.points:
                if point.position["value"] != "":  # not a method that is shown for comparison
                    run = point.runs[0]
                    setting, distiller = point.panel.split()[-1], run.distiller
                    for pair in _pairs_of(run, pairs):
                        values = sweeps.setdefault((pair, distiller, setting), [])
                        value = {"value": point.position["value"], "method": run.method}
                        if value not in values:
                            values.append(value)
    return [
        {"pair": pair, "distiller": distiller, "setting": setting, "values": values}
        for (pair, distiller, setting), values in sweeps.items()
    ]


def _papers(plan: Plan, groups: list[Run], pairs: dict[str, dict[str, str]]) -> list[list[str]]:
    papers = []
    for run in groups:
        method = run.method
        if run.teacher is None:
            if is_papers(run_deviations((run,), method)):
                papers.append([run.data, run.spec.network.name, method])
        elif run.spec.teacher_epoch is None:
            distiller = run.distiller
            for pair in _pairs_of(run, pairs):
                if is_papers(pair_deviations(plan.study, pair, (run,), method, distiller)):
                    papers.append([pair, distiller, method])
    return papers


def _pairs_of(run: Run, pairs: dict[str, dict[str, str]]) -> list[str]:
    """Return the names of the pairs of a student."""
    assert run.teacher is not None
    used = (run.data, run.teacher.spec.network.name, run.spec.network.name)
    return [
        name
        for name, pair in pairs.items()
        if (pair["data"], pair["teacher"], pair["student"]) == used
    ]
