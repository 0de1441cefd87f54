"""What a plan says to its reports: what each table and figure shows, and the page's texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from soteacher.study.plan import Plan
from soteacher.study.runs import Run

RECORD_FORMAT = 2
"""Of what `block_record` returns: raised when its shape changes, so that a file of an earlier
version is recognized."""


def planned(runs: Iterable[Run]) -> dict[str, str]:
    """Run id to the hash of its spec: what a result must carry to be these runs'."""
    return {run.id: run.short_sha256 for run in runs}


def block_record(plan: Plan, name: str) -> dict[str, Any]:
    """Return what a table or figure is made from: what its kind shows, the runs that it needs with
    the hashes of their specs, and its headings.
    """
    return {
        "name": name,
        "format": RECORD_FORMAT,
        "runs": planned(plan.runs_of(name)),
        **plan.contents[name].record(),
        **_headings(plan, name),
    }


def caption(plan: Plan, name: str) -> str:
    """Return what a table or figure shows and what it means."""
    block = plan.study.blocks[name]
    return f"{block.title}. {block.meaning}"


def page_summary(plan: Plan) -> dict[str, Any]:
    """What the page says besides its tables and figures."""
    roles = [run.role for run in plan.runs.values()]
    seeds = sorted({run.spec.seed for run in plan.runs.values()})
    study = plan.study
    asked = (
        f"{roles.count('teacher')} teachers and {roles.count('student')} students were asked for, "
        f"over seeds {', '.join(map(str, seeds))}, on {_data(plan)}."
        if roles
        else f"No network was asked for. The data are {_data(plan)}."
    )
    facts = [
        asked,
        "A student of seed k learns from the teacher of seed k. Tables are of the last epoch.",
    ]
    methods = {
        name: " + ".join(_text_of(*term) for term in sorted(method.regularizers.items()))
        or "cross-entropy alone"
        for name, method in study.teachers.items()
    }
    for name, method in study.teachers.items():
        if method.table5 != "standard":
            methods[name] += f"; its students have {method.table5}'s weights of Table 5"
    distillers = {
        name: _text_of(student.method, student.distiller)
        for name, student in study.distillers.items()
    }
    recipes = {
        name: ", ".join(f"{k} {v}" for k, v in recipe.spec().items())
        for name, recipe in study.recipes.items()
    }
    return {
        "study": study.study,
        "facts": facts,
        "teachers": methods,
        "distillers": distillers,
        "recipes": recipes,
        "tables": {name: _headings(plan, name) for name in study.tables},
        "figures": {
            name: _headings(plan, name)
            | {"runs": [f"{run.role}s/{run.id}" for run in plan.runs_of(name)]}
            for name in study.figures
        },
    }


def _text_of(name: str, settings: Any) -> str:
    said = ", ".join(f"{key} {_value(value)}" for key, value in settings.spec().items())
    return f"{name} ({said})" if said else name


def _value(value: Any) -> str:
    """A setting; of one that is a map, each value with its key."""
    if isinstance(value, dict):
        return " and ".join(f"{inner} for {key}" for key, inner in value.items())
    return str(value)


def _headings(plan: Plan, name: str) -> dict[str, Any]:
    block, deviations = plan.study.blocks[name], plan.contents[name].deviations
    papers = [not differing for differing in deviations]
    return {
        "kind": block.kind,
        "title": block.title,
        "meaning": block.meaning,
        "deviations": list(dict.fromkeys(text for one in deviations for text in one)),
        "papers": "none" if not any(papers) else "all" if all(papers) else "some",
    }


def _data(plan: Plan) -> str:
    texts = []
    for name, data in sorted(plan.study.data.items()):
        text = name
        if data.true_labels is not None:
            text += (
                f" (known true label distributions: {data.true_labels.confusion:.0%} of the "
                "labels are drawn from look-alike classes; accuracy counts against argmax p*)"
            )
        texts.append(text)
    return ", ".join(texts)
