"""The differences between a run and the paper's experiment; only equal runs get its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from soteacher.core import registry
from soteacher.core.precisions import FLOAT32, TF32
from soteacher.core.recipe import FineTunedRecipe
from soteacher.core.settings import Settings, parse
from soteacher.study.contents import Reading
from soteacher.study.specs import RunSpec


@dataclass(frozen=True)
class Experiment:
    """What the paper trains on one data set: Appendix D.1."""

    stream: dict[str, Any]
    teacher: dict[str, Any]
    """The recipe of teachers."""
    student: dict[str, Any]
    """The recipe of students."""
    students: dict[str, tuple[str, ...]]
    """Teacher network to the networks of its students."""
    lr: dict[str, float]
    """Network to learning rate, where it differs from the recipe's."""
    lipschitz: float
    """Weight of the Lipschitz regularizer (lambda_LR)."""

    def recipe(self, role: str, network: str) -> dict[str, Any]:
        """Return the recipe of a network in this role."""
        recipe = self.teacher if role == "teacher" else self.student
        return recipe | {"lr": self.lr.get(network, recipe["lr"])}


CIFAR100 = "cifar100"
_CIFAR = {"epochs": 240, "batch": 64, "lr": 0.05, "decay_at": [150, 180, 210]}
_TINY = {"batch": 128, "lr": 0.1}
EXPERIMENTS = {
    CIFAR100: Experiment(
        stream={"crop_padding": 4, "flip": 0.5},
        teacher=_CIFAR,
        student=_CIFAR,
        students={"wrn_40_2": ("wrn_40_1", "wrn_16_2"), "resnet32x4": ("shufflenet_v2",)},
        lr={"shufflenet_v2": 0.01},
        lipschitz=1e-5,
    ),
    "tiny_imagenet": Experiment(
        stream={"rotation": 20, "crop_padding": 4, "flip": 0.5},
        teacher=_TINY | {"epochs": 90, "decay_at": [30, 60]},
        student=_TINY | {"epochs": 100, "decay_at": [30, 60, 90]},
        students={"resnet34": ("resnet18",)},
        lr={},
        lipschitz=1e-6,
    ),
}
TEACHERS: dict[str, dict[str, Any]] = {
    "standard": {},
    "soteacher": {"lipschitz": {}, "consistency": {}},
    "no_cr": {"lipschitz": {}},
    "no_lr": {"consistency": {}},
    "l2": {},  # weight decay, which every recipe has
}
"""Settings that differ from this package's defaults. The Lipschitz weight depends on the
experiment. The defaults of distillers are the paper's settings."""

PAPERS_PRECISIONS = (FLOAT32, TF32)
"""The precisions that count as the paper's (docs/deviations.md, A33)."""

READINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "lipschitz": {"norm": ("induced", "induced_strided")},
    "consistency": {"mode": ("paper",)},
}
"""Regularizer to its settings in which the paper's text and the authors' code differ, to the values
that follow the text. The defaults follow the code (docs/deviations.md, A1 and A6)."""


def deviations(spec: RunSpec, method: str, taught_by: str = "") -> list[str]:
    """Return the differences between a run and the paper's run of the same method, in words.

    A `Reading` among them follows the paper's text where the authors' code differs.

    `method` is the study's name of the teacher method (for a teacher's spec) or of the distiller
    (for a student's spec); `taught_by` is the teacher method of the student's teacher. Seeds are
    not compared, because the paper does not report them. If the paper does not use the run's data,
    the run is compared with the paper's run of the same network, or else with CIFAR-100.
    """
    if spec.is_oracle:
        return [f"{method} is the true label distributions themselves (not in the paper)"]
    if spec.weights is not None:
        return [f"{method} was trained elsewhere (not in the paper)"]
    teacher = spec.role == "teacher"
    source = spec.data.source
    network = spec.network.name
    paper_data = source if source in EXPERIMENTS else _data_of(network)
    experiment = EXPERIMENTS[paper_data]
    differences = []
    if source != paper_data or spec.data.settings or spec.data.true_labels:
        drawn = " with labels drawn from known distributions" if spec.data.true_labels else ""
        others = "".join(f", {name} {_text(v)}" for name, v in spec.data.settings.items())
        differences.append(f"data {source}{drawn}{others} (paper: {paper_data})")
    differences += _network(experiment, spec)
    differences += _differences(spec.stream.augment, experiment.stream)
    recipe = spec.as_teacher().recipe
    if isinstance(recipe, FineTunedRecipe):
        recipe = recipe.before
    differences += _differences(recipe, experiment.recipe(spec.role, network))
    expected = _teacher(method) if teacher else _distiller(method, taught_by)
    kind = "regularizer" if teacher else "distiller"
    unknown = [] if teacher else [name for name in spec.terms if not _in_paper(kind, name)]
    if unknown:
        differences.append(f"distiller {unknown[0]} (not in the paper)")
    elif expected is None:
        differences.append(f"method {method} (not in the paper)")
    elif spec.terms.keys() != expected.keys():
        used = " + ".join(sorted(spec.terms)) or "nothing"
        differences.append(
            f"{method} is {used} (paper: {' + '.join(sorted(expected)) or 'nothing'})"
        )
    else:
        for name, term in sorted(spec.terms.items()):
            settings = parse(registry.get(kind, name), dict(term.settings), name)
            paper_settings = expected[name]
            if name == "lipschitz":
                paper_settings = {"weight": experiment.lipschitz, **paper_settings}
            texts = READINGS.get(name, {})
            differences += [f"{name} {d}" for d in _differences(settings, paper_settings, texts)]
            differences += [Reading(f"{name} {text}") for text in _readings(settings, texts)]
    if spec.held_out is not None:
        differences.append(f"{spec.held_out.text} (not in the paper)")
    if spec.fine_tune is not None:
        differences.append(f"{spec.fine_tune.text} (not in the paper)")
    if spec.precision not in PAPERS_PRECISIONS:
        papers = " or ".join(PAPERS_PRECISIONS)
        differences.append(f"precision {spec.precision} (paper: {papers})")
    if spec.teacher_epoch is not None:
        differences.append(f"the teacher of epoch {spec.teacher_epoch} (paper: the last)")
    return differences


def _teacher(method: str) -> dict[str, dict[str, Any]] | None:
    """Return the paper's settings of a teacher method; for Table 7 they are the defaults."""
    if _in_paper("regularizer", method) and registry.get("regularizer", method).table7:
        return {method: {}}
    return TEACHERS.get(method)


def _distiller(method: str, taught_by: str) -> dict[str, dict[str, Any]] | None:
    """Return the paper's settings of a distiller, for students of one teacher method."""
    if not _in_paper("distiller", method):
        return None
    column = "soteacher" if taught_by == "soteacher" else "standard"
    return {method: registry.get("distiller", method)().for_teacher(column).spec()}


def _in_paper(kind: str, name: str) -> bool:
    """Return whether a method is in the paper; the attribute of a base class does not count."""
    if name not in registry.shipped(kind):
        return False
    return bool(vars(registry.shipped_part(kind, name)).get("in_paper", False))


def _data_of(network: str) -> str:
    """Return the data set that the paper trains a network on."""
    for name, experiment in EXPERIMENTS.items():
        if any(network in (teacher, *learn) for teacher, learn in experiment.students.items()):
            return name
    return CIFAR100


def _network(experiment: Experiment, spec: RunSpec) -> list[str]:
    name, students = spec.network.name, experiment.students
    if spec.teacher is None:
        return [] if name in students else [f"network {name} (not in the paper)"]
    if not any(name in learn for learn in students.values()):
        return [f"network {name} (not in the paper)"]
    teacher = spec.teacher.network.name  # another network is reported for the teacher's run
    if name not in students.get(teacher, (name,)):
        return [f"{name} as a student of {teacher} (not in the paper)"]
    return []


def _readings(settings: Settings, texts: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the settings that follow the paper's text, with what the authors' code does."""
    code = {name: type(settings).model_fields[name].default for name in texts}
    chosen = {name: getattr(settings, name) for name in texts}
    return [
        f"{name} {chosen[name]} (authors' code: {code[name]})"
        for name, values in texts.items()
        if chosen[name] in values
    ]


def _differences(
    settings: Settings, paper: dict[str, Any], texts: dict[str, tuple[str, ...]] | None = None
) -> list[str]:
    """Return the settings that differ, defaults included, as `name value (paper: value)`.

    texts : setting to the values that follow the paper's text, which are no differences.
    """
    full = settings.model_dump(mode="json")
    expected = type(settings).model_validate(paper).model_dump(mode="json")
    return [
        f"{name} {_text(full[name])} (paper: {_text(expected[name])})"
        for name in full
        if full[name] != expected[name] and full[name] not in (texts or {}).get(name, ())
    ]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
