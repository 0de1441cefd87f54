"""What a job reads from the specs of its runs."""

from __future__ import annotations

from typing import Any

from soteacher import registry
from soteacher.data.prepared import check_revision
from soteacher.distillers.base import Distiller
from soteacher.regularizers.base import ImageChange
from soteacher.settings import canonical, parse
from soteacher.terms import LossTerm
from soteacher.training.moment import Stage


def pass_key(spec: dict[str, Any]) -> str:
    """Runs with the same key see the same batches and the same teacher outputs."""
    shared = {name: spec[name] for name in ("role", "data", "stream", "seed")}
    shared |= {"batch": spec["recipe"]["batch"], "precision": spec.get("precision")}
    if spec["role"] == "teacher":
        shared["images"] = {
            name: settings
            for name, settings in spec["terms"].items()
            if issubclass(registry.get("regularizer", name), ImageChange)
        }
    if "teacher" in spec:
        shared |= {"teacher": spec["teacher"], "teacher_epochs": [*teacher_epochs(spec).values()]}
    return canonical(shared)


def teacher_epochs(spec: dict[str, Any]) -> dict[Stage, tuple[int, ...]]:
    """Which 1-based epochs of the teacher serve a student: one to prepare, one a main epoch."""
    epochs = spec["recipe"]["epochs"]
    last = spec.get("teacher_epoch", spec["teacher"]["recipe"]["epochs"])
    [distiller] = terms_of(spec)
    assert isinstance(distiller, Distiller)
    return {Stage.PREPARE: (last,), Stage.MAIN: distiller.teacher_epochs(epochs, last)}


def terms_of(spec: dict[str, Any]) -> list[LossTerm]:
    """New terms from a spec, as each run needs its own."""
    kind = "regularizer" if spec["role"] == "teacher" else "distiller"
    terms = []
    for name, settings in sorted(spec["terms"].items()):
        part = registry.get(kind, name)
        check_revision(part, settings["revision"], name)
        settings = {k: v for k, v in settings.items() if k != "revision"}
        terms.append(parse(part, settings, name))
    return terms


def image_change(spec: dict[str, Any]) -> ImageChange | None:
    """What changes the images of a teacher, if its method does."""
    if spec["role"] != "teacher":
        return None
    return next((term for term in terms_of(spec) if isinstance(term, ImageChange)), None)


def preparation_spec(student: dict[str, Any]) -> dict[str, Any]:
    """What a teacher-side preparation is: nothing of the student but its method and seed.

    Nor have the weights of losses any part in it.
    """
    spec = {k: v for k, v in student.items() if k not in ("role", "network", "recipe")}
    main = ("epochs", "lr", "decay_at", "decay")
    recipe = {k: v for k, v in student["recipe"].items() if k not in main}
    terms = {}
    for name, settings in spec["terms"].items():
        weights = (*Distiller.model_fields, *registry.get("distiller", name).weights())
        terms[name] = {k: v for k, v in settings.items() if k not in weights}
    return spec | {"role": "preparation", "recipe": recipe, "terms": terms}
