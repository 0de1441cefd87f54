"""The inputs of the reports: the content of each table and figure, and the texts of the page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from soteacher.data.settings import CountsFile
from soteacher.study.contents import is_papers
from soteacher.study.plan import Plan
from soteacher.study.runs import Run
from soteacher.study.schema import TeacherMethod

RECORD_FORMAT = 3
"""Version of the format that `block_record` returns. It is raised when the format changes, so that
files of an earlier version are recognized."""
MEASURES_FORMAT = 3
"""Version of the columns of the measures CSVs. It is raised when they change. The rule `measure`
has it as a parameter, so Snakemake measures finished runs again."""


def planned(runs: Iterable[Run]) -> dict[str, str]:
    """Return run id to the short hash of the run's spec, which the run's results must have."""
    return {run.id: run.short_sha256 for run in runs}


def block_record(plan: Plan, name: str) -> dict[str, Any]:
    """Return the inputs of a table or figure: its content, the runs that it needs with the hashes
    of their specs, and its headings.
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
    """Return the texts of the page besides its tables and figures."""
    roles = ["student alone" if run.alone else run.role for run in plan.runs.values()]
    seeds = sorted({run.spec.seed for run in plan.runs.values()})
    study = plan.study
    counts = [f"{roles.count('teacher')} teachers", f"{roles.count('student')} students"]
    if "student alone" in roles:
        counts.append(f"{roles.count('student alone')} students alone")
    size = (
        f"The study needs {', '.join(counts[:-1])} and {counts[-1]}, "
        f"over seeds {', '.join(map(str, seeds))}, on {_data(plan)}."
        if roles
        else f"The study needs no trained networks. Its data sets are {_data(plan)}."
    )
    early_stopped = any(method.early_stop for method in study.teachers.values())
    facts = [
        size,
        "A student with seed k learns from the teacher with seed k. Tables show the last epoch"
        + (", and the chosen epoch of early-stopped teachers." if early_stopped else "."),
        _accuracy(plan),
    ]
    methods = {
        name: " + ".join(_text_of(*term) for term in sorted(method.regularizers.items()))
        or _without_regularizers(method)
        for name, method in study.teachers.items()
    }
    for name, method in study.teachers.items():
        if method.held_out is not None:
            methods[name] += f"; {method.held_out.text}"
        if method.fine_tune is not None:
            methods[name] += f"; {method.fine_tune.text}, after its recipe as Standard"
        if method.table5 != "standard":
            methods[name] += f"; its students use the weights of Table 5 for {method.table5}"
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
        "regularizers": {
            name: sorted(method.regularizers) for name, method in study.teachers.items()
        },
        "distillers": distillers,
        "recipes": recipes,
        "tables": {name: _headings(plan, name) for name in study.tables},
        "figures": {
            name: _headings(plan, name)
            | {"runs": [f"{run.role}s/{run.id}" for run in plan.runs_of(name)]}
            for name in study.figures
        },
    }


def _without_regularizers(method: TeacherMethod) -> str:
    if method.oracle:
        return "the true label distributions; not trained"
    if isinstance(method.weights, dict):
        names = {network: Path(path).name for network, path in method.weights.items()}
        return f"trained elsewhere: {_value(names)}"
    if method.weights:
        return f"trained elsewhere: {Path(method.weights).name}"
    return "cross-entropy alone"


def _text_of(name: str, settings: Any) -> str:
    values = ", ".join(f"{key} {_value(value)}" for key, value in settings.spec().items())
    return f"{name} ({values})" if values else name


def _value(value: Any) -> str:
    """Return the value of a setting as text; a mapping is listed as values with their keys."""
    if isinstance(value, dict):
        return " and ".join(f"{inner} for {key}" for key, inner in value.items())
    return str(value)


def _headings(plan: Plan, name: str) -> dict[str, Any]:
    block, deviations = plan.study.blocks[name], plan.contents[name].deviations
    papers = [is_papers(differing) for differing in deviations]
    return {
        "kind": block.kind,
        "title": block.title,
        "meaning": block.meaning,
        "deviations": list(dict.fromkeys(text for one in deviations for text in one)),
        "papers": "none" if not any(papers) else "all" if all(papers) else "some",
    }


def _accuracy(plan: Plan) -> str:
    """Return what accuracy means in this study; ECE and NLL say in their tables what they mean."""
    known = {name: data.true_labels for name, data in plan.study.data.items()}
    drawn = [name for name, labels in sorted(known.items()) if labels is not None]
    text = "Accuracy is the share of test images for which a network predicts the right class: "
    if not drawn:
        return f"{text}the label."
    likeliest = "argmax p*, the likeliest class of the image, not the label that is drawn"
    if any(isinstance(labels, CountsFile) for labels in known.values()):
        likeliest += " (the label, where no counts are given for test images)"
    if len(drawn) == len(plan.study.data):
        return f"{text}{likeliest}."
    return f"{text}the label; on {', '.join(drawn)}, {likeliest}."


def _data(plan: Plan) -> str:
    texts = []
    for name, data in sorted(plan.study.data.items()):
        text = name
        if isinstance(data.true_labels, CountsFile):
            text += " (with true label distributions that are given for each image)"
        elif data.true_labels is not None:
            text += (
                f" (with known true label distributions: {data.true_labels.confusion:.0%} of the "
                "labels are drawn from look-alike classes)"
            )
        texts.append(text)
    return ", ".join(texts)
