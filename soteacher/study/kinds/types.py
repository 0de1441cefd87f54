"""The types that settings of tables and figures have in common."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

T = TypeVar("T")


def no_duplicates(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values; `ValueError` if one of them is there twice."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"expected each entry once, {value!r} is there twice")
    return values


Listed = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(no_duplicates)]
"""At least one entry, none of them twice."""
Seeds = Listed[Annotated[int, Field(ge=0)]]


def _number(value: Any) -> Any:
    """Return a text that is a number as that number: YAML reads 1e-7 as a text."""
    if isinstance(value, bool):
        raise ValueError("expected a number or a text")
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Value = Annotated[float | str, BeforeValidator(_number)]
"""A value of a setting."""
