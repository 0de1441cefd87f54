"""What a run is: a typed spec, known before anything runs, and the fingerprint made from it.

A spec holds the settings that differ from their defaults and the revision of each part that the run
uses; for a student, the spec of its teacher too. The canonical JSON of a spec is part of the run's
fingerprint, so the bytes of `to_json` must not change for settings that stay the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

from soteacher.core import registry
from soteacher.core.cursor import Stage
from soteacher.core.errors import UserError
from soteacher.core.hashing import canonical_json, json_sha256
from soteacher.core.recipe import Recipe
from soteacher.core.registry import check_revision
from soteacher.core.settings import parse
from soteacher.data.settings import STREAM, Augment
from soteacher.data.spec import DataSpec
from soteacher.distillers.base import Distiller
from soteacher.regularizers.base import ImageChange
from soteacher.terms import LossTerm

LOOP = 1
"""Revision of the training loop: a new number where the same settings train to other bits."""
SHORT = 16
"""Number of hexadecimal digits of a spec's hash that downstream rules compare."""
FLOAT32 = "float32"
"""The precision that specs leave out."""

Role = Literal["teacher", "student"]
KINDS = {"teacher": "regularizer", "student": "distiller"}
"""Role to the registered kind of its loss terms."""


@dataclass(frozen=True)
class StreamSpec:
    """How the training batches are made from the images."""

    augment: Augment
    turns: int = 1
    """Turned views of each image (`LossTerm.turns`)."""
    views: int = 1
    """Views of each image that a regularizer makes (`ImageChange.views`)."""
    revision: int = STREAM

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return what `to_json` wrote."""
        rest = dict(values)
        revision, turns, views = rest.pop("revision"), rest.pop("turns", 1), rest.pop("views", 1)
        return cls(parse(Augment, rest, "augment"), turns, views, revision)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; a single view is left out."""
        values = {"revision": self.revision, **self.augment.spec()}
        for name in ("turns", "views"):
            if getattr(self, name) != 1:
                values[name] = getattr(self, name)
        return values


@dataclass(frozen=True)
class NetworkSpec:
    """A network's name and the revision of its family."""

    name: str
    revision: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"name": self.name, "revision": self.revision}


@dataclass(frozen=True)
class TermSpec:
    """A loss term: its revision, and the settings that differ from their defaults."""

    revision: int
    settings: dict[str, Any] = field(default_factory=dict)
    code_sha256: str | None = None
    """Of the file that the term comes from; None where it comes from an installed package."""

    @classmethod
    def of(cls, term: LossTerm) -> Self:
        """Return the spec of a term with its settings."""
        outside = registry.outside(type(term))
        return cls(term.revision, term.spec(), outside.code_sha256 if outside else None)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return what `to_json` wrote."""
        settings = dict(values)
        return cls(settings.pop("revision"), settings, settings.pop("code_sha256", None))

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        code = {} if self.code_sha256 is None else {"code_sha256": self.code_sha256}
        return {"revision": self.revision, **code, **self.settings}

    def part(self, kind: str, name: str) -> Any:
        """Return the class of the term; `UserError` if it is not at hand."""
        return registry.get(kind, name, self.code_sha256)


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides what a trained network is, except the content of its images."""

    role: Role
    data: DataSpec
    stream: StreamSpec
    network: NetworkSpec
    recipe: Recipe
    """With the one learning rate of this network."""
    terms: dict[str, TermSpec]
    """Registered name to loss term: regularizers of a teacher, the distiller of a student."""
    seed: int
    precision: str = FLOAT32
    teacher: RunSpec | None = None
    """The teacher of a student, without what changes no student (`as_teacher`)."""
    teacher_epoch: int | None = None
    """The 1-based epoch whose weights teach the student; None for the last one."""
    loop: int = LOOP

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote; `UserError` if these values are not one."""
        try:
            if values["role"] not in KINDS:
                raise ValueError(f"role {values['role']!r}")
            return cls(
                role=values["role"],
                data=DataSpec.from_json(values["data"]),
                stream=StreamSpec.from_json(values["stream"]),
                network=NetworkSpec(**values["network"]),
                recipe=parse(Recipe, values["recipe"], "recipe"),
                terms={n: TermSpec.from_json(term) for n, term in values["terms"].items()},
                seed=values["seed"],
                precision=values.get("precision", FLOAT32),
                teacher=cls.from_json(values["teacher"]) if "teacher" in values else None,
                teacher_epoch=values.get("teacher_epoch"),
                loop=values["loop"],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"expected the spec of a run; these values are not one ({error!r})"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, without what equals its default."""
        values: dict[str, Any] = {
            "role": self.role,
            "loop": self.loop,
            "data": self.data.to_json(),
            "stream": self.stream.to_json(),
            "network": self.network.to_json(),
            "recipe": self.recipe.spec(),
            "terms": {name: term.to_json() for name, term in self.terms.items()},
            "seed": self.seed,
        }
        if self.precision != FLOAT32:
            values["precision"] = self.precision
        if self.teacher is not None:
            values["teacher"] = self.teacher.to_json()
        if self.teacher_epoch is not None:
            values["teacher_epoch"] = self.teacher_epoch
        return values

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of the spec: equal for runs that are the same."""
        return canonical_json(self.to_json())

    @cached_property
    def sha256(self) -> str:
        """The hash of the canonical JSON: a result must carry it to belong to this run."""
        return json_sha256(self.to_json())

    def as_teacher(self) -> RunSpec:
        """Return what a student's spec says of it: which epochs are kept changes no student."""
        return replace(self, recipe=self.recipe.model_copy(update={"keep_every": 0}))

    def check_methods(self) -> None:
        """Raise `UserError` if a loss term is not at hand, or its file is not the planned one."""
        for name, term in self.terms.items():
            term.part(KINDS[self.role], name)

    def loss_terms(self) -> list[LossTerm]:
        """Return new loss terms, by name: each run needs its own."""
        terms: list[LossTerm] = []
        for name, spec in sorted(self.terms.items()):
            part = spec.part(KINDS[self.role], name)
            check_revision(part, spec.revision, name)
            terms.append(parse(part, spec.settings, name))
        return terms

    def image_change(self) -> ImageChange | None:
        """Return what changes the images of a teacher, if its method does."""
        if self.role != "teacher":
            return None
        return next((term for term in self.loss_terms() if isinstance(term, ImageChange)), None)

    @cached_property
    def last_teacher_epoch(self) -> int:
        """The 1-based epoch of a student's teacher that it learns from at the end."""
        assert self.teacher is not None
        return self.teacher_epoch or self.teacher.recipe.epochs

    @cached_property
    def teacher_epochs(self) -> dict[Stage, tuple[int, ...]]:
        """The 1-based epochs of a student's teacher: one to prepare, one for each main epoch."""
        [distiller] = self.loss_terms()
        assert isinstance(distiller, Distiller)
        last = self.last_teacher_epoch
        epochs = distiller.teacher_epochs(self.recipe.epochs, last)
        return {Stage.PREPARE: (last,), Stage.MAIN: epochs}

    @cached_property
    def pass_key(self) -> str:
        """A text that is equal for runs that see the same batches and the same teacher outputs."""
        shared: dict[str, Any] = {
            "role": self.role,
            "data": self.data.to_json(),
            "stream": self.stream.to_json(),
            "seed": self.seed,
            "batch": self.recipe.batch,
            "precision": self.precision,
        }
        if self.role == "teacher":
            shared["images"] = {
                name: term.to_json()
                for name, term in self.terms.items()
                if issubclass(term.part("regularizer", name), ImageChange)
            }
        if self.teacher is not None:
            shared |= {"teacher": self.teacher.to_json()}
            shared |= {"teacher_epochs": [*self.teacher_epochs.values()]}
        return canonical_json(shared)


@dataclass(frozen=True)
class PreparationSpec:
    """A first stage that depends on the teacher alone: nothing of the student but method and seed.

    The weights of losses have no part in it either.
    """

    student: RunSpec

    role = "preparation"

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        student = self.student.to_json()
        spec = {k: v for k, v in student.items() if k not in ("role", "network", "recipe")}
        main = ("epochs", "lr", "decay_at", "decay")
        recipe = {k: v for k, v in student["recipe"].items() if k not in main}
        terms = {}
        for name, term in self.student.terms.items():
            weights = (*Distiller.model_fields, *term.part("distiller", name).weights())
            settings = {k: v for k, v in term.settings.items() if k not in weights}
            terms[name] = TermSpec(term.revision, settings, term.code_sha256).to_json()
        return spec | {"role": self.role, "recipe": recipe, "terms": terms}

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of the spec."""
        return canonical_json(self.to_json())


def fingerprint(spec: RunSpec | PreparationSpec, data_sha256: str) -> str:
    """The name of a run in the store: its spec, its teacher's within it, and its prepared data."""
    return json_sha256({"spec": spec.to_json(), "data": data_sha256})
