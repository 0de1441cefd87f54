"""The spec of a data set: its source, the settings of the source, and its labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.exact_values import whole
from soteacher.core.hashing import canonical_json, json_sha256
from soteacher.core.registry import check_revision
from soteacher.core.settings import parse
from soteacher.data.counts import CountsOfImages
from soteacher.data.settings import TRUE_LABELS, GivenLabels, KnownLabels, TrueLabels
from soteacher.data.sources.base import Source

COUNTS = "counts"
"""Key of a location that is the path of a file of label counts; the others are the source's."""


@dataclass(frozen=True)
class DataSpec:
    """The source and settings that determine the prepared arrays of a data set."""

    source: str
    """The registered name of the source."""
    revision: int
    """The revision of the source."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the source that differ from their defaults, without the images' location."""
    true_labels: KnownLabels | None = None
    true_labels_revision: int = TRUE_LABELS

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))

    @classmethod
    def of(cls, name: str, source: Source, true_labels: KnownLabels | None) -> Self:
        """Return the spec of a registered source; the path of a file of counts is left out."""
        if isinstance(true_labels, GivenLabels):
            true_labels = GivenLabels()
        return cls(name, source.revision, source.spec(), true_labels)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the spec that `to_json` wrote; raise `UserError` if the values are no spec."""
        try:
            rest = dict(values)
            source, revision = rest.pop("source"), whole(rest.pop("revision"))
            known = rest.pop("true_labels", None)
            if known is None:
                return cls(source, revision, rest)
            known = dict(known)
            labels_revision = whole(known.pop("revision"))
            labels: KnownLabels
            if known == GivenLabels().spec():
                labels = GivenLabels()
            else:
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
        place = {key: value for key, value in (location or {}).items() if key != COUNTS}
        settings: Source = parse(part, {**self.settings, **place}, "data")
        return settings

    def open_counts(self, location: dict[str, Any] | None = None) -> CountsOfImages | None:
        """Return the file of label counts that a location names, if the true labels are given so.

        Raises `UserError` if the location does not name it.
        """
        if not isinstance(self.true_labels, GivenLabels):
            return None
        path = (location or {}).get(COUNTS)
        if path is None:
            raise UserError(
                "the true labels of this data set are given in a file; expected its path as "
                f"'{COUNTS}' of the location"
            )
        return CountsOfImages(path)

    def content_key(self, location: dict[str, Any] | None = None) -> str | None:
        """Return a hash of the content at a location: of the images, and of the label counts.

        It distinguishes data of equal specs. None: this spec has only one content.
        """
        images = self.open_source(location).content_key()
        counts = self.open_counts(location)
        if counts is None:
            return images
        return json_sha256({"images": images, "counts": counts.content_key()})
