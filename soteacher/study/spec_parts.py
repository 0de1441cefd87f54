"""The parts of a run's spec: the stream of batches, the network, and the loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.exact_values import whole
from soteacher.core.settings import parse
from soteacher.data.folds import FOLDS, fold_sizes
from soteacher.data.settings import STREAM, Augment
from soteacher.models import catalogue
from soteacher.models.outside import check_same, outside
from soteacher.terms import LossTerm


@dataclass(frozen=True)
class StreamSpec:
    """The settings of the stream of training batches."""

    augment: Augment
    turns: int = 1
    """Number of turned views of each image (`LossTerm.turns`)."""
    views: int = 1
    """Number of views of each image that a regularizer creates (`ImageChange.views`)."""
    revision: int = STREAM

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote."""
        rest = dict(values)
        revision = whole(rest.pop("revision"))
        turns, views = whole(rest.pop("turns", 1)), whole(rest.pop("views", 1))
        return cls(parse(Augment, rest, "augment"), turns, views, revision)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values; numbers of views that are 1 are left out."""
        values = {"revision": self.revision, **self.augment.spec()}
        for name in ("turns", "views"):
            if getattr(self, name) != 1:
                values[name] = getattr(self, name)
        return values


@dataclass(frozen=True)
class NetworkSpec:
    """A network's name and the revision of its family; where it comes from, if from outside."""

    name: str
    revision: int
    origin: Mapping[str, str] = field(default_factory=dict)
    """`code_sha256` of the file, or `package`, its name and version; empty for our networks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", MappingProxyType(dict(self.origin)))

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the spec of a network as it is now; raise `UserError` if there is none."""
        return cls(name, catalogue.revision(name), _origin(name))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote."""
        rest = dict(values)
        return cls(rest.pop("name"), whole(rest.pop("revision")), rest)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {"name": self.name, "revision": self.revision, **self.origin}

    def check(self) -> None:
        """Raise `UserError` unless the network of this name is the planned one."""
        if not catalogue.is_shipped(self.name):
            check_same(self.name, dict(self.origin))
        now = catalogue.revision(self.name)
        if now != self.revision:
            raise UserError(registry.other_revision(self.name, self.revision, now))


def _origin(name: str) -> dict[str, str]:
    network = None if catalogue.is_shipped(name) else outside(name)
    return {} if network is None else network.identity


@dataclass(frozen=True)
class HeldOut:
    """Folds of a teacher's training images, and what an image outside the training is used for."""

    use: Literal["early_stop", "cross_fit"]
    """`early_stop`: the first fold chooses the epoch, and the network is trained on the others.
    `cross_fit`: one network per fold is trained on the others, and predicts the fold."""
    folds: int
    revision: int = FOLDS

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote."""
        if values["use"] not in ("early_stop", "cross_fit"):
            raise ValueError(f"use {values['use']!r}")
        return cls(values["use"], whole(values["folds"]), whole(values["revision"]))

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {"use": self.use, "folds": self.folds, "revision": self.revision}

    @property
    def text(self) -> str:
        """What a reader sees of it."""
        if self.use == "cross_fit":
            return f"cross-fitted with {self.folds} folds of the training images"
        return f"early-stopped on one of {self.folds} folds of the training images"

    def trained_images(self, n_images: int) -> tuple[int, ...]:
        """Return the number of images that each network is trained on in an epoch."""
        sizes = fold_sizes(n_images, self.folds)
        return tuple(n_images - size for size in (sizes if self.use == "cross_fit" else sizes[:1]))


@dataclass(frozen=True)
class WeightsSpec:
    """The file of weights of a network that was trained elsewhere, without its location."""

    sha256: str
    """Of the file's bytes."""
    revision: int
    """Revision of the import (`study.imported`)."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote."""
        return cls(values["sha256"], whole(values["revision"]))

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {"sha256": self.sha256, "revision": self.revision}


@dataclass(frozen=True)
class TermSpec:
    """A loss term: its revision, and the settings that differ from their defaults."""

    revision: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    code_sha256: str | None = None
    """Of the file that the term comes from; None where it comes from an installed package."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    @classmethod
    def of(cls, term: LossTerm) -> Self:
        """Return the spec of a loss term."""
        outside = registry.outside(type(term))
        return cls(term.revision, term.spec(), outside.code_sha256 if outside else None)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote."""
        settings = dict(values)
        revision = whole(settings.pop("revision"))
        return cls(revision, settings, settings.pop("code_sha256", None))

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        code = {} if self.code_sha256 is None else {"code_sha256": self.code_sha256}
        return {"revision": self.revision, **code, **self.settings}

    def part(self, kind: str, name: str) -> Any:
        """Return the class of the term; `UserError` if it is not available."""
        return registry.get(kind, name, self.code_sha256)
