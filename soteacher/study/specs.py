"""The spec of a run, which is known before anything runs, and the run's fingerprint.

A spec holds the settings that differ from their defaults and the revision of each part that the run
uses; the spec of a student also holds the spec of its teacher. The canonical JSON of a spec is part
of the run's fingerprint, so the result of `to_json` must not change for unchanged settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Self

from soteacher.core.cursor import Stage
from soteacher.core.errors import UserError
from soteacher.core.exact_values import whole
from soteacher.core.hashing import canonical_json, json_sha256, sha256_of
from soteacher.core.precisions import FLOAT32
from soteacher.core.recipe import FineTune, FineTunedRecipe, Recipe
from soteacher.core.registry import check_revision
from soteacher.core.settings import parse
from soteacher.data.spec import DataSpec
from soteacher.distillers.base import Distiller
from soteacher.models.catalogue import TRUE_LABELS
from soteacher.regularizers.base import ImageChange
from soteacher.study.spec_parts import HeldOut, NetworkSpec, StreamSpec, TermSpec, WeightsSpec
from soteacher.terms import LossTerm

LOOP = 1
"""Revision of the training loop. Increase it if the same settings give other bits."""
SHORT = 16
"""Number of hexadecimal digits of a spec's hash that later rules compare."""

Role = Literal["teacher", "student"]
KINDS = {"teacher": "regularizer", "student": "distiller"}
"""Role to the registered kind of its loss terms."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that determines a trained network, except the content of its images."""

    role: Role
    data: DataSpec
    stream: StreamSpec
    network: NetworkSpec
    recipe: Recipe
    """The recipe, with the learning rate of this network, and with fine-tuning if there is any."""
    terms: Mapping[str, TermSpec]
    """Registered name to loss term: regularizers of a teacher, the distiller of a student."""
    seed: int
    precision: str = FLOAT32
    teacher: RunSpec | None = None
    """The spec of a student's teacher, without settings that change no student (`as_teacher`)."""
    teacher_epoch: int | None = None
    """The 1-based epoch of the teacher's checkpoint; None for the final weights."""
    held_out: HeldOut | None = None
    """Images that a teacher is not trained on, and their use; None: it is trained on all images."""
    loop: int = LOOP
    weights: WeightsSpec | None = None
    """The weights of a teacher that was trained elsewhere; None for every other run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", MappingProxyType(dict(self.terms)))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote; raise `UserError` if the values are no spec."""
        try:
            if values["role"] not in KINDS:
                raise ValueError(f"role {values['role']!r}")
            return cls(
                role=values["role"],
                data=DataSpec.from_json(values["data"]),
                stream=StreamSpec.from_json(values["stream"]),
                network=NetworkSpec.from_json(values["network"]),
                recipe=parse(
                    FineTunedRecipe if "fine_tune" in values["recipe"] else Recipe,
                    values["recipe"],
                    "recipe",
                ),
                terms={n: TermSpec.from_json(term) for n, term in values["terms"].items()},
                seed=whole(values["seed"]),
                precision=values.get("precision", FLOAT32),
                teacher=cls.from_json(values["teacher"]) if "teacher" in values else None,
                teacher_epoch=whole(values["teacher_epoch"]) if "teacher_epoch" in values else None,
                held_out=HeldOut.from_json(values["held_out"]) if "held_out" in values else None,
                loop=whole(values["loop"]),
                weights=WeightsSpec.from_json(values["weights"]) if "weights" in values else None,
            )
        except UserError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"expected the spec of a run, but the values are not one ({error!r}); rerun "
                "snakemake with the version of soteacher that is installed"
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, without values that equal their defaults.

        Specs that differ only in their seeds share the inner values, so nobody changes these.
        """
        values = {**self.unseeded, "seed": self.seed}
        if self.teacher is not None:
            values["teacher"] = self.teacher.to_json()
        return values

    @cached_property
    def unseeded(self) -> dict[str, Any]:
        """The JSON values of the spec without the seed and the teacher's spec."""
        values: dict[str, Any] = {
            "role": self.role,
            "loop": self.loop,
            "data": self.data.to_json(),
            "stream": self.stream.to_json(),
            "network": self.network.to_json(),
            "recipe": self.recipe.spec(),
            "terms": {name: term.to_json() for name, term in self.terms.items()},
        }
        if self.precision != FLOAT32:
            values["precision"] = self.precision
        if self.teacher_epoch is not None:
            values["teacher_epoch"] = self.teacher_epoch
        if self.held_out is not None:
            values["held_out"] = self.held_out.to_json()
        if self.weights is not None:
            values["weights"] = self.weights.to_json()
        return values

    def with_seed(self, seed: int) -> RunSpec:
        """Return this spec with another seed, also of the teacher; it shares `unseeded`."""
        teacher = None if self.teacher is None else self.teacher.with_seed(seed)
        spec = replace(self, seed=seed, teacher=teacher)
        spec.__dict__["unseeded"] = self.unseeded
        return spec

    @property
    def is_oracle(self) -> bool:
        """Whether the run is a teacher that predicts p* and is not trained (`study.oracle`)."""
        return self.network.name == TRUE_LABELS

    @property
    def is_trained(self) -> bool:
        """Whether the run is trained here: an oracle and an imported teacher are not."""
        return not self.is_oracle and self.weights is None

    def trained_images(self, n_train: int) -> tuple[int, ...]:
        """Return the number of images of an epoch of each network, of `n_train` in the data set."""
        return (n_train,) if self.held_out is None else self.held_out.trained_images(n_train)

    @property
    def is_early_stopped(self) -> bool:
        """Whether held-out images choose the epoch of the teacher's weights."""
        return self.held_out is not None and self.held_out.use == "early_stop"

    @property
    def is_cross_fitted(self) -> bool:
        """Whether the teacher has one network for each fold of the training images."""
        return self.held_out is not None and self.held_out.use == "cross_fit"

    @property
    def fine_tune(self) -> FineTune | None:
        """The fine-tuning after the teacher's recipe, or None."""
        return self.recipe.fine_tune if isinstance(self.recipe, FineTunedRecipe) else None

    @property
    def n_networks(self) -> int:
        """The number of networks of the run."""
        return self.held_out.folds if self.held_out and self.is_cross_fitted else 1

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of the spec: equal for equal runs."""
        return canonical_json(self.to_json())

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the canonical JSON; every result of the run carries it."""
        return sha256_of(self.canonical)

    def without_checkpoints(self) -> RunSpec:
        """Return this spec for a run that nothing learns from: without `keep_every`."""
        return replace(self, recipe=self.recipe.model_copy(update={"keep_every": 0}))

    def as_teacher(self) -> RunSpec:
        """Return this spec for use in a student's spec: without `keep_every` and `test_every`."""
        update = {"keep_every": 0, "test_every": 1}
        return replace(self, recipe=self.recipe.model_copy(update=update))

    @property
    def tested_epochs(self) -> int:
        """The number of epochs after which the network is tested."""
        return self.recipe.epochs if self.is_early_stopped else self.recipe.tested_epochs

    def parts(self) -> list[type[LossTerm]]:
        """Return the classes of the loss terms.

        Raises `UserError` if one is not available, or its file is not the planned one.
        """
        return [term.part(KINDS[self.role], name) for name, term in self.terms.items()]

    def loss_terms(self) -> list[LossTerm]:
        """Return new loss terms, sorted by name; every run needs new ones."""
        terms: list[LossTerm] = []
        for name, spec in sorted(self.terms.items()):
            part = spec.part(KINDS[self.role], name)
            check_revision(part, spec.revision, name)
            terms.append(parse(part, dict(spec.settings), name))
        return terms

    def image_change(self) -> ImageChange | None:
        """Return the regularizer that changes the images of a teacher, or None."""
        if self.role != "teacher":
            return None
        return next((term for term in self.loss_terms() if isinstance(term, ImageChange)), None)

    @cached_property
    def last_teacher_epoch(self) -> int:
        """The 1-based epoch of the teacher that the student learns from at the end."""
        assert self.teacher is not None
        return self.teacher_epoch or self.teacher.recipe.epochs

    @cached_property
    def teacher_epochs(self) -> dict[Stage, tuple[int, ...]]:
        """The teacher's 1-based epochs: one for the preparation, one for each main epoch."""
        [distiller] = self.loss_terms()
        assert isinstance(distiller, Distiller)
        last = self.last_teacher_epoch
        epochs = distiller.teacher_epochs(self.recipe.epochs, last)
        return {Stage.PREPARE: (last,), Stage.MAIN: epochs}

    @cached_property
    def pass_key(self) -> str:
        """A text that is equal for runs with the same batches and the same teacher outputs."""
        shared: dict[str, Any] = {
            "role": self.role,
            "data": self.data.to_json(),
            "stream": self.stream.to_json(),
            "seed": self.seed,
            "batch": self.recipe.batch,
            "precision": self.precision,
        }
        if self.held_out is not None:
            shared["held_out"] = self.held_out.to_json()
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
    """The spec of a preparation that depends on the teacher and the student's method and seed.

    It contains neither the student's network nor the weights of losses.
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
    """Return the fingerprint of a run, which names it in the store: a hash of spec and data."""
    return fingerprint_of(spec.to_json(), data_sha256)


def fingerprint_of(spec: dict[str, Any], data_sha256: str) -> str:
    """Return the fingerprint of a spec that is given as JSON values, as in the store's records."""
    return json_sha256({"spec": spec, "data": data_sha256})
