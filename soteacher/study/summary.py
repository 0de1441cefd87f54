"""What a plan says to its reports: cells of tables, parts of figures, and their headings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from soteacher.study.contents import Cell, Part
from soteacher.study.plan import Plan
from soteacher.study.runs import Run

TITLES = {
    "accuracy": "Test accuracy in percent, of teachers and of the students distilled from them",
    "agreement": "Agreement of students with their teachers on test images",
    "calibration": "Calibration of teachers on test images",
    "distillers": "Test accuracy in percent of students, by distiller and teacher method",
    "overhead": "Time of a training step, and memory, of teacher methods side by side",
    "truth_distance": "Distance of predictions to true label distributions; accuracy in percent",
    "weights": "Weights of distillers' own losses, by teacher method",
    "checkpoints": "Students distilled from their teacher's weights of different epochs",
    "curves": "Accuracy over the epochs of training",
    "reliability": "Reliability of teachers' confidence on test images",
    "sweep": "Test accuracy of teachers and students as one setting of the teachers is changed",
}
MEANINGS = {
    "accuracy": "The paper's claim is that a teacher trained for its student (SoTeacher) gives a "
    "better student, whatever its own accuracy. Accuracy counts the last epoch's predictions.",
    "agreement": "Agreement is the percentage of test images for which student and teacher predict "
    "the same class. A teacher that is easier to follow is matched more often.",
    "calibration": "ECE (expected calibration error, 15 bins) and NLL (negative log-likelihood, "
    "nats) say how far confidence can be trusted; lower is better. Scaled: after temperature "
    "scaling, each image with the temperature fitted on the half of the test set it is not in.",
    "distillers": "The paper's claim is that nearly every way to distill gives a better student "
    "when the teacher was trained for it: the columns of a pair differ in the teacher, and in the "
    "method's weight, which goes with it (Table 5).",
    "overhead": "The methods take turns at the same batches, in one process on one device; each "
    "step is timed alone, without the making of the batch or the evaluation after an epoch. More "
    "time: how much longer a step took than the first method's on the same batch. The paper says "
    "about 5 % for SoTeacher's training, and does not name the device. The Lipschitz term costs "
    "the same whatever the batch and the images are, so it weighs most where steps are short. "
    "Kept: what a method holds besides network and optimiser, exactly (for consistency the mean "
    "predictions, N x K float32). Peak: the most that the GPU held in a step, training images "
    "included. Times are of the device named below alone, and come out a little different each "
    "time.",
    "truth_distance": "Labels of these data are drawn from known distributions, so the quantity of "
    "the paper's Eq. (2) can be measured: the mean over images of the distance (ℓ2, or ℓ1) between "
    "predicted probabilities and the true label distribution. Lower is nearer.",
    "weights": "The loss of a student is ce * cross-entropy + kd * KL divergence of softened "
    "predictions + this weight * the method's own loss. In the paper it is mostly half as large "
    "for students of SoTeacher's teachers.",
    "checkpoints": "Each point is a student trained from nothing by a teacher as it was after that "
    "many epochs. Where the teacher's line rises and the student's does not, more teacher training "
    "does not help the student.",
    "curves": "Training accuracy counts against the labels trained on, test accuracy against the "
    "test images' classes.",
    "reliability": "A point on the diagonal means that of the images predicted with, say, 80 % "
    "confidence, 80 % are right; below it the teacher is too confident. Before and after "
    "temperature scaling.",
    "sweep": "Each value is a teacher method of its own, its other settings as they are; the "
    "triangle is the value that the method has elsewhere. The values are this project's: the paper "
    "prints none of its own.",
}


def planned(runs: Iterable[Run]) -> dict[str, str]:
    """Run id to the hash of its spec: what a result must carry to be these runs'."""
    return {run.id: run.short_sha256 for run in runs}


def table_block(plan: Plan, name: str) -> dict[str, Any]:
    """A table's cells, the runs they need with the hashes of their specs, and what to say."""
    cells = plan.tables[name]
    block = {
        "table": name,
        "cells": [
            {
                "row": cell.row,
                "column": cell.column,
                "measure": cell.measure,
                "role": cell.runs[0].role,
                "runs": [run.id for run in cell.runs],
                "papers": not cell.deviations,
                "paper_row": cell.paper_row,
            }
            for cell in cells
        ],
        "runs": planned(plan.runs_of(name)),
        **_headings(plan, name),
    }
    if name in plan.weights:
        block["weights"] = [
            asdict(cell) | {"remark": plan.study.distillers[cell.row].distiller.remark}
            for cell in plan.weights[name]
        ]
    if name in plan.timed:
        methods = [
            [made.network, method, run.short_sha256]
            for made in plan.timed[name]
            for method, run in made.runs.items()
        ]
        block["timed"] = {"steps": plan.timing_request(name)["steps"], "methods": methods}
    return block


def figure_block(plan: Plan, name: str) -> dict[str, Any]:
    """A figure's parts, the runs they need with the hashes of their specs, and what to say."""
    shown = []
    for part in plan.figures[name]:
        entry: dict[str, Any] = {"panel": part.panel, "series": part.series}
        ids = [run.id for run in part.runs]
        if part.teachers:
            entry |= {"students": ids, "teachers": [run.id for run in part.teachers]}
        else:
            entry["runs"] = ids
        if plan.study.figures[name].kind == "sweep":
            entry |= {"value": part.value, "own": part.own}
        elif part.epoch is not None:
            entry["epoch"] = part.epoch
        shown.append(entry)
    runs = planned(plan.runs_of(name))
    return {"figure": name, "parts": shown, "runs": runs, **_headings(plan, name)}


def caption(plan: Plan, name: str) -> str:
    """What a table or figure shows and what it means."""
    kind = plan.study.blocks[name].kind
    return f"{TITLES[kind]}. {MEANINGS[kind]}"


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
        name: " + ".join(_part(*term) for term in sorted(method.regularizers.items()))
        or "cross-entropy alone"
        for name, method in study.teachers.items()
    }
    for name, method in study.teachers.items():
        if method.table5 != "standard":
            methods[name] += f"; its students have {method.table5}'s weights of Table 5"
    distillers = {
        name: _part(student.method, student.distiller) for name, student in study.distillers.items()
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


def _part(name: str, settings: Any) -> str:
    said = ", ".join(f"{key} {_value(value)}" for key, value in settings.spec().items())
    return f"{name} ({said})" if said else name


def _value(value: Any) -> str:
    """A setting; of one that is a map, each value with its key."""
    if isinstance(value, dict):
        return " and ".join(f"{inner} for {key}" for key, inner in value.items())
    return str(value)


def _headings(plan: Plan, name: str) -> dict[str, Any]:
    kind = plan.study.blocks[name].kind
    made: tuple[Cell | Part, ...] = (*plan.tables.get(name, ()), *plan.figures.get(name, ()))
    shown = [one.deviations for one in made]
    own = [not deviations for deviations in shown]
    return {
        "kind": kind,
        "title": TITLES[kind],
        "meaning": MEANINGS[kind],
        "deviations": list(dict.fromkeys(text for deviations in shown for text in deviations)),
        "papers": "none" if not any(own) else "all" if all(own) else "some",
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
