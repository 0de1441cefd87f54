"""Numbers and booleans of settings that are never mistaken for each other."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic_core import CoreSchema, PydanticKnownError, core_schema

from soteacher.core import scalars


def whole(value: Any) -> int:
    """Return a whole number of a spec in JSON; raise `TypeError` for anything else, as for true."""
    if type(value) is not int:
        raise TypeError(f"expected a whole number, got {value!r}")
    return value


def exact(schema: Any, settings: type) -> Any:
    """Return the schema with numbers and booleans that are never mistaken for each other.

    pydantic takes true for 1, "yes" for true and "1_0" for 10. Texts are read by the core schema
    of YAML 1.2: Snakemake hands over 1e-4 and the values of nested `--config` options as texts.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(exact(part, settings) for part in schema)
    if not isinstance(schema, dict) or schema.get("cls", settings) is not settings:
        return schema  # the settings in a setting have exact values already
    if check := _CHECKS.get(str(schema.get("type"))):
        return core_schema.no_info_before_validator_function(check, cast(CoreSchema, schema))
    kept = ("default", "keys_schema", "metadata", "serialization")
    return {k: v if k in kept else exact(v, settings) for k, v in schema.items()}


def _boolean(value: Any) -> bool:
    if isinstance(value, str):
        value = scalars.scalar(value)
    if not isinstance(value, bool):
        raise PydanticKnownError("bool_type")
    return value


def _whole_number(value: Any) -> Any:
    return _not_boolean(value, "int")


def _number(value: Any) -> Any:
    return _not_boolean(value, "float")


def _not_boolean(value: Any, kind: Literal["int", "float"]) -> Any:
    if isinstance(value, bool):
        raise PydanticKnownError("int_type" if kind == "int" else "float_type")
    if isinstance(value, str):
        value = scalars.number(value)
        if value is None:
            raise PydanticKnownError("int_parsing" if kind == "int" else "float_parsing")
    if isinstance(value, int) and abs(value) >= scalars.MOST_WHOLE:
        raise ValueError("expected a number below 2**63")
    return value


def _choice(value: Any) -> Any:
    """Refuse a boolean for one of some values, where pydantic takes true for 1."""
    if isinstance(value, bool):
        raise PydanticKnownError("int_type")
    return value


_CHECKS = {
    "bool": _boolean,
    "decimal": _number,
    "float": _number,
    "int": _whole_number,
    "literal": _choice,
}
"""Type of a schema to the check of its values."""
