"""What a study file says: data sets, recipes, pairs, methods, seeds and one block a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from soteacher import registry
from soteacher.data.sources.base import Source
from soteacher.distillers.base import Distiller
from soteacher.errors import UserError, unknown
from soteacher.models import catalogue
from soteacher.regularizers.base import Regularizer
from soteacher.settings import Settings, parse

NAME = r"[a-z0-9][a-z0-9_]*"
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}$")]
"""Lower-case letters, digits and underscores: names become parts of paths."""
PairName = Annotated[str, StringConstraints(pattern=rf"^{NAME}(/{NAME})?$")]
T = TypeVar("T")


def _unlike(values: tuple[T, ...]) -> tuple[T, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"expected each entry once, {value!r} is there twice")
    return values


Listed = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(_unlike)]
"""At least one entry, none of them twice."""
Seeds = Listed[Annotated[int, Field(ge=0)]]
Column = Literal["student.top1", "student.top5", "teacher.top1", "teacher.top5"]


class Augment(Settings):
    """What is done to each training image, in this order."""

    crop_padding: int = Field(0, ge=0)
    """Zeros around the image, in pixels, before a crop of its own size is taken at random."""
    flip: float = Field(0.0, ge=0, le=1)
    """Probability of a horizontal flip."""


class TrueLabels(Settings):
    """Known true label distributions: labels drawn from a stated confusion of look-alike classes.

    An image of class c gets p*(c) = 1 - confusion, and its class's nearest look-alikes (by the
    distance of the classes' mean training images) share the rest. Training labels are drawn from
    p* anew for each seed; test labels once.
    """

    confusion: float = Field(gt=0, lt=0.5)
    """Probability that a label is not the image's own class; below 0.5, so that argmax p* is."""
    split: tuple[float, ...] = (0.7, 0.3)
    """Shares of the confusion that go to the nearest look-alike, the second nearest, ..."""

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if abs(sum(self.split) - 1) > 1e-9 or min(self.split, default=0) <= 0:
            raise ValueError("expected positive shares in `split` that sum to 1")
        return self


class Recipe(Settings):
    """How a network is trained: SGD with a learning rate that falls in steps."""

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Images a step; the last, short batch of an epoch is kept."""
    lr: float | dict[str, float]
    """Learning rate at the start; may be a map by network, with `default` for all others."""
    decay_at: tuple[int, ...]
    """After each of these numbers of epochs the learning rate is multiplied by `decay`."""
    decay: float = Field(0.1, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    """On every parameter, batch norm's and biases too."""
    keep_every: int = Field(0, ge=0)
    """A teacher's weights are kept after every so many epochs (0: only the last)."""

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if list(self.decay_at) != sorted(set(self.decay_at)):
            raise ValueError("expected rising epochs in `decay_at`")
        if any(not 0 < epoch < self.epochs for epoch in self.decay_at):
            raise ValueError(f"expected epochs between 1 and {self.epochs - 1} in `decay_at`")
        if isinstance(self.lr, dict) and "default" not in self.lr:
            raise ValueError("expected a `default` in `lr`, which is a map by network")
        if min(self.lr.values() if isinstance(self.lr, dict) else [self.lr]) <= 0:
            raise ValueError("expected a learning rate above 0 in `lr`")
        return self

    def for_network(self, network: str) -> Self:
        """The recipe with the one learning rate that this network gets."""
        if not isinstance(self.lr, dict):
            return self
        return self.model_copy(update={"lr": self.lr.get(network, self.lr["default"])})

    def lr_at(self, epoch: int) -> float:
        """Learning rate of a 0-based epoch."""
        assert isinstance(self.lr, float), "a recipe is trained with after for_network"
        return self.lr * self.decay ** sum(epoch >= past for past in self.decay_at)


class Pair(Settings):
    """A teacher network and the student network distilled from it."""

    data: Name
    teacher_recipe: Name
    student_recipe: Name
    teacher: str | None = None
    """Network; where left out, the first half of the pair's name."""
    student: str | None = None
    """Network; where left out, the second half of the pair's name."""


class AccuracyTable(Settings):
    """Test accuracy, a row a teacher method: Tables 1, 2 and 7 of the paper."""

    kind: Literal["accuracy"]
    pairs: Literal["all"] | Listed[str] = "all"
    teachers: Listed[str]
    distillers: Listed[str]
    columns: Listed[Column] = ("student.top1", "teacher.top1")
    seeds: Seeds | None = None
    """Where left out, the study's."""


class Head(Settings):
    """The part of a study that stands alone; what names registered parts is read after it."""

    study: Name
    """The study's name: its results lie in results/<name>."""
    seeds: Seeds
    store: str = "results/store"
    """Folder of trained runs, shared by studies. No part of what a run is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: the GPU if there is one. Recorded, no part of what a run is."""
    threads: int = Field(1, ge=1)
    """CPU threads of each training process: results depend on it to the last bit. Recorded."""
    precision: Literal["float32", "tf32"] = "float32"
    """`tf32` lets CUDA shorten the factors of products; part of what a run is."""
    deterministic: bool = True
    """Only kernels that give the same bits every time."""
    save_every: float = Field(60.0, ge=0)
    """Seconds between saved states of a training run: at most so much is lost to a kill."""
    runs_per_job: int = Field(4, ge=1)
    """Runs trained in one process; students of one teacher share its forward pass."""
    recipes: dict[Name, Recipe]
    pairs: dict[PairName, Pair] = Field(min_length=1)
    tables: dict[Name, AccuracyTable] = Field(min_length=1)


class DataSet(Settings):
    """A source of images, and what is done to them."""

    source: Source
    augment: Augment = Augment()
    true_labels: TrueLabels | None = None


class TeacherMethod(Settings):
    """A way to train teachers: a set of regularizers, none for Standard."""

    regularizers: dict[str, Regularizer]


class Student(Settings):
    """A way to train students: one distiller."""

    method: str
    """The distiller's registered name."""
    distiller: Distiller


class Study(Head):
    """A whole study, every name in it known and every value possible."""

    data: dict[str, DataSet]
    teachers: dict[str, TeacherMethod]
    distillers: dict[str, Student]


RULES = ("all", "prepare", "teach", "distill", "measure", "table", "page")
"""What a table may not be called: each table is a target beside the workflow's rules."""
PARTS = ("data", "teachers", "distillers")


def load(path: Path) -> Study:
    """Read a study file; `UserError` (one line: key, expected, nearest known name) if it is bad."""
    try:
        values = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise UserError(f"cannot read the study file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"cannot read the study file {path}: expected UTF-8 text") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of study keys, see config/README.md")
    return read(values, str(path))


def read(values: Mapping[str, Any], where: str = "study") -> Study:
    """Make a study of plain values, as YAML or Snakemake's config has them."""
    _check_keys(values, [*Head.model_fields, *PARTS], where)
    head = parse(Head, {k: v for k, v in values.items() if k not in PARTS}, where)
    for part in PARTS:
        if not isinstance(values.get(part), Mapping) or not values[part]:
            raise UserError(f"{where}.{part}: missing; expected a mapping of at least one name")
        for name in values[part]:
            if not isinstance(name, str) or not re.fullmatch(NAME, name):
                raise UserError(f"{where}.{part}: expected names like {NAME}; got {name!r}")
    study = Study.model_construct(
        **dict(head),
        data={k: _data(v, f"{where}.data.{k}") for k, v in values["data"].items()},
        teachers={k: _teacher(v, f"{where}.teachers.{k}") for k, v in values["teachers"].items()},
        distillers={
            k: _student(k, v, f"{where}.distillers.{k}") for k, v in values["distillers"].items()
        },
    )
    _check_references(study, where)
    return study


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected a mapping; got {values!r}")
    return dict(values)


def _data(values: Any, where: str) -> DataSet:
    values = _mapping(values, where)
    if "source" not in values:
        raise UserError(
            f"{where}.source: missing; known: {', '.join(registry.names('data source'))}"
        )
    name = values.pop("source")
    part = _part("data source", name, f"{where}.source")
    augment = parse(Augment, values.pop("augment", {}), f"{where}.augment")
    truth = values.pop("true_labels", None)
    _check_keys(values, [*part.model_fields, "source", "augment", "true_labels"], where)
    return DataSet.model_construct(
        source=parse(part, values, where),
        augment=augment,
        true_labels=None if truth is None else parse(TrueLabels, truth, f"{where}.true_labels"),
    )


def _teacher(values: Any, where: str) -> TeacherMethod:
    regularizers = {
        name: parse(_part("regularizer", name, where), settings, f"{where}.{name}")
        for name, settings in _mapping(values, where).items()
    }
    return TeacherMethod.model_construct(regularizers=regularizers)


def _student(name: str, values: Any, where: str) -> Student:
    values = _mapping(values, where)
    method = values.pop("method", name)
    part = _part("distiller", method, where)
    _check_keys(values, [*part.model_fields, "method"], where)
    return Student.model_construct(method=method, distiller=parse(part, values, where))


def _check_keys(values: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise UserError(f"{where}: {unknown('key', key, known)}")


def _part(kind: str, name: str, where: str) -> Any:
    try:
        return registry.get(kind, name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _check_references(study: Study, where: str) -> None:
    """Every name that one part of the study gives to another must be known there."""

    def check(what: str, name: str, known: Any, at: str) -> None:
        if name not in known:
            raise UserError(f"{where}.{at}: {unknown(what, name, known)}")

    def check_network(network: str, at: str) -> None:
        try:
            catalogue.find(network)
        except UserError as error:
            raise UserError(f"{where}.{at}: {error}") from None

    for name, pair in study.pairs.items():
        check("data set", pair.data, study.data, f"pairs.{name}.data")
        for key in ("teacher_recipe", "student_recipe"):
            check("recipe", getattr(pair, key), study.recipes, f"pairs.{name}.{key}")
        if (pair.teacher is None or pair.student is None) and "/" not in name:
            raise UserError(
                f"{where}.pairs.{name}: expected a name of the form teacher/student, "
                "or the keys `teacher` and `student`"
            )
        for network in networks(name, pair):
            check_network(network, f"pairs.{name}")
    for name, method in study.teachers.items():
        for part, regularizer in method.regularizers.items():
            for data in regularizer.data_sets():
                check("data set", data, study.data, f"teachers.{name}.{part}.weight")
    for name, recipe in study.recipes.items():
        for network in recipe.lr if isinstance(recipe.lr, dict) else ():
            if network != "default":
                check_network(network, f"recipes.{name}.lr")
    results, store = (Path(p).resolve() for p in (f"results/{study.study}", study.store))
    if results.is_relative_to(store) or store.is_relative_to(results):
        raise UserError(
            f"{where}.store: expected a folder that is neither in nor around the study's results, "
            f"results/{study.study}; got {study.store}"
        )
    for name, table in study.tables.items():
        if name in RULES:
            raise UserError(f"{where}.tables: '{name}' is the name of a rule; take another")
        for pair_name in () if table.pairs == "all" else table.pairs:
            check("pair", pair_name, study.pairs, f"tables.{name}.pairs")
        for method in table.teachers:
            check("teacher method", method, study.teachers, f"tables.{name}.teachers")
        for distiller in table.distillers:
            check("distiller", distiller, study.distillers, f"tables.{name}.distillers")


def networks(name: str, pair: Pair) -> tuple[str, str]:
    """The teacher's and the student's network of a pair."""
    first, _, second = name.partition("/")
    return pair.teacher or first, pair.student or second


def json_schema() -> dict[str, Any]:
    """The JSON schema of study files, for editors that complete and check them."""
    definitions: dict[str, Any] = {}

    def schema(settings: type[Settings]) -> dict[str, Any]:
        made = settings.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(made.pop("$defs", {}))
        return made

    top = schema(Head)
    sources = []
    for name in registry.names("data source"):
        source = schema(registry.get("data source", name))
        source["properties"] = {
            "source": {"const": name},
            **source.get("properties", {}),
            "augment": {"anyOf": [schema(Augment), {"type": "null"}]},
            "true_labels": {"anyOf": [schema(TrueLabels), {"type": "null"}]},
        }
        source["required"] = [*source.get("required", []), "source"]
        sources.append(source)
    regularizers = {
        name: {"anyOf": [schema(registry.get("regularizer", name)), {"type": "null"}]}
        for name in registry.names("regularizer")
    }
    distillers = {}
    for name in registry.names("distiller"):
        distillers[name] = schema(registry.get("distiller", name))
        distillers[name]["properties"]["method"] = {"enum": list(registry.names("distiller"))}
    top["properties"] |= {
        "data": {"type": "object", "additionalProperties": {"anyOf": sources}},
        "teachers": {
            "type": "object",
            "additionalProperties": {
                "type": ["object", "null"],
                "properties": regularizers,
                "additionalProperties": False,
            },
        },
        "distillers": {
            "type": "object",
            "additionalProperties": {"anyOf": [*distillers.values(), {"type": "null"}]},
        },
    }
    top["required"] = [*top["required"], *PARTS]
    top["title"] = "soteacher study"
    top["$defs"] = definitions
    return top
