"""Types that the settings of tables and figures share."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from soteacher.core import scalars
from soteacher.core.errors import short

T = TypeVar("T")


def no_duplicates(values: tuple[T, ...]) -> tuple[T, ...]:
    """Return the values; raise `ValueError` if there are duplicates."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"expected each entry once; {short(repr(value))} appears twice")
        seen.add(value)
    return values


Listed = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(no_duplicates)]
"""At least one entry, without duplicates."""
MOST_SEEDS = 1000
"""Maximum number of seeds of a study."""
Seeds = Annotated[Listed[Annotated[int, Field(ge=0)]], Field(max_length=MOST_SEEDS)]


def _number(value: Any) -> Any:
    """Convert a text such as 1e-7, which Snakemake's YAML reads as text, to a number."""
    if isinstance(value, bool):
        raise ValueError("expected a number or a text")
    number = scalars.number(value) if isinstance(value, str) else None
    return value if number is None else float(number)


Value = Annotated[float | str, BeforeValidator(_number)]
"""A value of a setting."""
