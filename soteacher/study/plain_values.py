"""The check that values are plain: what any study file can hold, and not more than one needs.

Values come from a study file, from Snakemake's `config`, or from the caller of `read`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from soteacher.core.errors import UserError, short
from soteacher.core.scalars import MOST_WHOLE

MOST_DEPTH = 30
"""Maximum number of levels of mappings and lists."""
MOST_VALUES = 5_000
"""Maximum number of values, with those that aliases repeat."""


def check_plain(values: Mapping[str, Any], where: str) -> None:
    """Raise `UserError` unless the values are mappings with texts as keys, lists, texts, numbers,
    booleans and null, of a reasonable number and depth.
    """
    open_values: list[tuple[str, Any, int]] = [(where, values, 1)]
    n = 0
    while open_values:
        at, value, depth = open_values.pop()
        n += 1
        if depth == 2:
            outer = at
        if depth > MOST_DEPTH:
            raise UserError(
                f"{outer}: expected at most {MOST_DEPTH} levels of values, and no alias to the "
                "value that contains it"
            )
        if n > MOST_VALUES:
            raise UserError(
                f"{where}: expected at most {MOST_VALUES} values, also where aliases repeat them"
            )
        if isinstance(value, Mapping):
            for key, inner in value.items():
                _check_scalar(at, key)
                if not isinstance(key, str):
                    raise UserError(f"{at}: expected texts as keys; got {short(repr(key))}")
                open_values.append((f"{at}.{key}", inner, depth + 1))
        elif isinstance(value, list | tuple):
            open_values += [(f"{at}.{i}", inner, depth + 1) for i, inner in enumerate(value)]
        else:
            _check_scalar(at, value)


def _check_scalar(at: str, value: Any) -> None:
    if isinstance(value, str):
        for character in value:
            if unicodedata.category(character) in ("Cc", "Cs"):
                raise UserError(
                    f"{at}: expected a text of one line without control characters; it has the "
                    f"character U+{ord(character):04X}"
                )
    elif isinstance(value, int) and abs(value) >= MOST_WHOLE:
        digits = value.bit_length() * 3 // 10
        raise UserError(
            f"{at}: expected a number below 2**63; got one of about {digits + 1} digits"
        )
    elif value is not None and not isinstance(value, bool | int | float):
        raise UserError(
            f"{at}: expected a text, number, boolean, list or mapping; "
            f"got the {type(value).__name__} {short(repr(value))}"
        )
