"""Types that the settings of tables and figures share."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

T = TypeVar("T")


def no_duplicates(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values; raise `ValueError` if there are duplicates."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"expected each entry once; {value!r} appears twice")
    return values


Listed = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(no_duplicates)]
"""At least one entry, without duplicates."""
Seeds = Listed[Annotated[int, Field(ge=0)]]


def _number(value: Any) -> Any:
    """Convert a text such as 1e-7, which YAML reads as text, to a number if possible."""
    if isinstance(value, bool):
        raise ValueError("expected a number or a text")
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Value = Annotated[float | str, BeforeValidator(_number)]
"""A value of a setting."""
