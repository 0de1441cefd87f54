"""The spec of a data set: its source, the settings of the source, and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.hashing import canonical_json, json_sha256
from soteacher.core.registry import check_revision
from soteacher.core.settings import parse
from soteacher.data.settings import TRUE_LABELS, TrueLabels
from soteacher.data.sources.base import Source


@dataclass(frozen=True)
class DataSpec:
    """The source and settings that determine the prepared arrays of a data set."""

    source: str
    """The registered name of the source."""
    revision: int
    """The revision of the source."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the source that differ from their defaults, without the images' location."""
    true_labels: TrueLabels | None = None
    true_labels_revision: int = TRUE_LABELS

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    @classmethod
    def of(cls, name: str, source: Source, true_labels: TrueLabels | None) -> Self:
        """Return the spec of a registered source."""
        return cls(name, source.revision, source.spec(), true_labels)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote; raise `UserError` if the values are no spec."""
        try:
            rest = dict(values)
            source, revision = rest.pop("source"), rest.pop("revision")
            known = rest.pop("true_labels", None)
            if known is None:
                return cls(source, revision, rest)
            known = dict(known)
            labels_revision = known.pop("revision")
            labels = parse(TrueLabels, known, "true_labels")
            return cls(source, revision, rest, labels, labels_revision)
        except UserError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"expected the spec of a data set; got {values!r} ({error})") from None

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values: its canonical JSON is part of every fingerprint."""
        values = {"source": self.source, "revision": self.revision, **self.settings}
        if self.true_labels is not None:
            values["true_labels"] = {
                "revision": self.true_labels_revision,
                **self.true_labels.spec(),
            }
        return values

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of the spec: equal for equal data sets."""
        return canonical_json(self.to_json())

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the canonical JSON."""
        return json_sha256(self.to_json())

    def open_source(self, location: dict[str, Any] | None = None) -> Source:
        """Return the source with these settings.

        location : the settings that say where the images are.   Raises `UserError` if the source is
        unknown, or if another revision of it is installed.
        """
        part = registry.get("data source", self.source)
        check_revision(part, self.revision, self.source)
        settings: Source = parse(part, {**self.settings, **(location or {})}, "data")
        return settings
