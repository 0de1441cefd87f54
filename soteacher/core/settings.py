"""The base class of all settings of a study file: frozen, strict about names, with defaults.

Specs leave out the settings that equal their defaults, so a default is part of a run's identity: a
default may change only together with the `revision` of the part that holds it.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

from soteacher.core.errors import UserError, short, unknown
from soteacher.core.exact_values import exact

_BRANCH = re.compile(
    r"float|int|str|\[key\]|constrained-.*|(dict|tuple|literal|function-before|function-after)\[.*|Table5"
)
"""Parts that pydantic adds to a key's path to name the branch of a union that it tried."""
_KIND = re.compile(r"_type$|_parsing$|^literal_error$")
"""Types of errors of values that do not have the type of the branch."""

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
"""Type of a pydantic error to our text of what was expected."""

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """A frozen set of named settings; the error for an unknown name suggests the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return exact(handler(source), cls)

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
        """Return the settings that differ from their defaults, as plain JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)


def parse(settings: type[S], values: Any, where: str) -> S:
    """Build `settings` from plain values; the one line of a `UserError` starts with `where`."""
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, where)) from None


def explain(error: ValidationError, where: str) -> str:
    """Return the first error in one line: the key, what was expected and what was given."""
    keyed_errors = [(_key(one, where), one) for one in error.errors(include_url=False)]
    key, first = keyed_errors[0]
    if first["type"] == "unknown_setting":
        return f"{key}: {first['msg']}"
    if first["type"] == "missing":
        return f"{key}: missing; it must be given"
    # a value of a union type has one error for each branch: show the error of the branch that
    # accepts the value's type, or the type of its inner values
    if "[key]" not in first["loc"]:
        key = next((inner for inner, _ in keyed_errors if inner.startswith(f"{key}.")), key)
    errors = [one for other, one in keyed_errors if other == key]
    errors = [one for one in errors if not _KIND.search(one["type"])] or errors
    messages = dict.fromkeys(_message(one) for one in errors)
    given = short(json.dumps(errors[0]["input"], default=str))
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
