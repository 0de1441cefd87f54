"""A teacher method with changed settings, as figures of kinds `sweep` and `grid` show it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from soteacher.core.errors import UserError, few, short, unknown
from soteacher.core.settings import parse
from soteacher.regularizers.base import Regularizer

Regularizers = dict[str, Regularizer]
VALUE = r"[A-Za-z0-9_.+-]{1,50}"
"""Texts that can be values of a sweep or a grid."""


class Change(ABC):
    """A change of a teacher method; its text is part of the names of folders of runs."""

    @abstractmethod
    def of(self, regularizers: Regularizers) -> Regularizers:
        """Return the regularizers of a method with the change; `UserError` if it is impossible."""


@dataclass(frozen=True)
class SettingChange(Change):
    """Another value of `<regularizer>.<setting>`. A `weight` of 0 removes the regularizer."""

    name: str
    value: float | str

    def __str__(self) -> str:
        return f"{self.name}={text(self.value)}"

    def of(self, regularizers: Regularizers) -> Regularizers:
        """Return the regularizers of a method with the change; `UserError` if it is impossible."""
        part, setting = self._parts(regularizers)
        if isinstance(self.value, str) and not re.fullmatch(VALUE, self.value):
            raise UserError(
                f"expected values like {VALUE}, because folders of runs have their names; got "
                f"{short(repr(self.value))}"
            )
        settings = regularizers[part].model_dump(exclude_defaults=True) | {setting: self.value}
        changed = parse(type(regularizers[part]), settings, part)
        others = {name: term for name, term in regularizers.items() if name != part}
        return others if self.removes else others | {part: changed}

    @property
    def part(self) -> str:
        """The name of the regularizer."""
        return self.name.partition(".")[0]

    @property
    def removes(self) -> bool:
        """Whether the change removes its regularizer."""
        return self.name.endswith(".weight") and self.value == 0

    def without(self, regularizers: Regularizers) -> float | str:
        """Return the value of the setting without the change."""
        part, setting = self._parts(regularizers)
        value: float | str = getattr(regularizers[part], setting)
        return value

    def _parts(self, regularizers: Regularizers) -> tuple[str, str]:
        part, _, setting = self.name.partition(".")
        if not part or not setting:
            every = [
                f"{name}.{field}"
                for name, term in regularizers.items()
                for field in type(term).model_fields
            ]
            own = [name for name in every if name.startswith(f"{part}.")]
            raise UserError(
                f"{short(repr(self.name))} names no setting; expected a regularizer and, after a "
                f"dot, its setting, such as {few(own or every or ['lipschitz.weight'])}"
            )
        if part not in regularizers:
            raise UserError(unknown("regularizer of the base", part, regularizers))
        known = type(regularizers[part]).model_fields
        if setting not in known:
            raise UserError(unknown(f"setting of {part}", setting, known))
        return part, setting


@dataclass(frozen=True)
class Changes(Change):
    """Changes of several settings at once."""

    changes: tuple[SettingChange, ...]

    def __str__(self) -> str:
        return ".".join(map(str, self.changes))

    def of(self, regularizers: Regularizers) -> Regularizers:
        """Return the regularizers with all changes, made one after the other."""
        for change in self.changes:
            regularizers = change.of(regularizers)
        return regularizers


def crossed(changes: Iterable[SettingChange], regularizers: Regularizers) -> Change | None:
    """Return the change that makes all of these changes, or None if they change nothing.

    changes : of different settings.   regularizers : those of the unchanged method.

    Left out are values that the method has anyway, and other settings of a regularizer that is
    removed, and the order does not matter: equal methods have equal changes, so equal names.
    """
    chosen = [change for change in changes if change.value != change.without(regularizers)]
    removed = {change.part for change in chosen if change.removes}
    kept = [change for change in chosen if change.removes or change.part not in removed]
    if len(kept) < 2:
        return kept[0] if kept else None
    return Changes(tuple(sorted(kept, key=lambda change: change.name)))


def text(value: float | str) -> str:
    """Return a value as a short text that identifies it exactly."""
    if isinstance(value, str):
        return value
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
