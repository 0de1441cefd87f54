"""The parts of a run's spec: the stream of batches, the network, and the loss terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from soteacher.core import registry
from soteacher.core.exact_values import whole
from soteacher.core.settings import parse
from soteacher.data.settings import STREAM, Augment
from soteacher.models import catalogue
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
    """A network's name and the revision of its family."""

    name: str
    revision: int

    @classmethod
    def of(cls, name: str) -> Self:
        """Return the spec of one of our networks; `UserError` if there is none of this name."""
        family, _ = catalogue.find(name)
        return cls(name, family.revision)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote."""
        return cls(values["name"], whole(values["revision"]))

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {"name": self.name, "revision": self.revision}


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
