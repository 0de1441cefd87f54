"""The base of everything that a study file can set: frozen, strict about names, with defaults.

A default is part of what a run *is*: specs leave out what equals its default, so a default may
never change without a new `revision` of the part that holds it.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from soteacher.core.errors import UserError, unknown

_BRANCH = re.compile(
    r"float|int|str|\[key\]|constrained-.*|(dict|tuple|literal|function-after)\[.*|Table5"
)
"""What pydantic adds to a key's path to say which branch of a union it tried."""
_KIND = re.compile(r"_type$|_parsing$|^literal_error$")
"""Errors of values that are not even of the kind that was tried."""

EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "model_type": "a mapping",
    "string_type": "a text",
    "tuple_type": "a list",
}
"""Words for what pydantic says in its own."""

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """A frozen set of named settings; an unknown name is an error that names the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, values: Any) -> Any:
        if values is None:  # `standard:` with nothing after it is YAML for an empty mapping
            return {}
        if isinstance(values, dict):
            for name in values:
                if name not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_setting",
                        "{text}",
                        {"text": unknown("key", name, cls.model_fields)},
                    )
        return values

    def spec(self) -> dict[str, Any]:
        """The settings that differ from their defaults, as plain JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse(settings: type[S], values: Any, where: str) -> S:
    """`settings` made from plain values, or a `UserError` whose one line starts with `where`."""
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, where)) from None


def explain(error: ValidationError, where: str) -> str:
    """The first thing wrong, in one line: key, what is wrong or expected, what was given."""
    found = [(_key(one, where), one) for one in error.errors(include_url=False)]
    key, first = found[0]
    if first["type"] == "unknown_setting":
        return f"{key}: {first['msg']}"
    if first["type"] == "missing":
        return f"{key}: missing; it must be given"
    # a value that may be of several kinds has an error a kind: if it is of one of them, or at
    # least its inner values are read as of one, that one counts
    if "[key]" not in first["loc"]:
        key = next((inner for inner, _ in found if inner.startswith(f"{key}.")), key)
    errors = [one for other, one in found if other == key]
    errors = [one for one in errors if not _KIND.search(one["type"])] or errors
    messages = dict.fromkeys(_message(one) for one in errors)
    given = json.dumps(errors[0]["input"], default=str)
    return f"{key}: {' or '.join(messages).replace(' or expected', ' or')}; got {given}"


def _key(error: ErrorDetails, where: str) -> str:
    parts = [str(part) for part in error["loc"]]
    return ".".join([where, *(part for part in parts if not _BRANCH.fullmatch(part))])


def _message(error: ErrorDetails) -> str:
    if error["type"] == "too_short":
        n = error["ctx"]["min_length"]
        return f"expected at least {'one entry' if n == 1 else f'{n} entries'}"
    if error["type"] == "too_long":
        n = error["ctx"]["max_length"]
        return f"expected at most {'one entry' if n == 1 else f'{n} entries'}"
    if error["type"] in EXPECTED:
        return f"expected {EXPECTED[error['type']]}"
    message = error["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    for long in ("input should be", "string should match pattern"):
        message = message.replace(long, "expected")
    return message
