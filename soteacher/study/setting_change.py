"""A teacher method with a changed setting, as figures of kind `sweep` show it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from soteacher.core.errors import UserError, short, unknown
from soteacher.core.settings import parse
from soteacher.regularizers.base import Regularizer

Regularizers = dict[str, Regularizer]
VALUE = r"[A-Za-z0-9_.+-]{1,50}"
"""Texts that can be values of a sweep."""


@dataclass(frozen=True)
class Change:
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
        return others if setting == "weight" and self.value == 0 else others | {part: changed}

    def without(self, regularizers: Regularizers) -> float | str:
        """Return the value of the setting without the change."""
        part, setting = self._parts(regularizers)
        value: float | str = getattr(regularizers[part], setting)
        return value

    def _parts(self, regularizers: Regularizers) -> tuple[str, str]:
        part, _, setting = self.name.partition(".")
        if part not in regularizers:
            raise UserError(unknown("regularizer of the base", part, regularizers))
        known = type(regularizers[part]).model_fields
        if setting not in known:
            raise UserError(unknown(f"setting of {part}", setting, known))
        return part, setting


def text(value: float | str) -> str:
    """Return a value as a short text that identifies it exactly."""
    if isinstance(value, str):
        return value
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
