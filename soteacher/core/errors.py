"""Errors that a user can mend: one clear sentence each, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

T = TypeVar("T")


class UserError(Exception):
    """Something asked for cannot be done; the text says what was asked, expected and what to do."""


class RunsFailed(UserError):
    """Some runs of a job ended with an exception; the others are finished."""


class Stopped(Exception):
    """A signal asked the process to end: all states are saved, the same command goes on there."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that nobody knows: the known ones, and the nearest of them."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {what} '{name}'; known: {', '.join(known) or 'none'}{hint}"


def one_of(what: str, name: T, literal: Any) -> T:
    """A name that a `Literal` has; `UserError` if it has not."""
    if name not in get_args(literal):
        raise UserError(unknown(what, str(name), get_args(literal)))
    return name


def few(names: Iterable[str]) -> str:
    """Names for a sentence, not too many of them."""
    shown = sorted(names)
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more if shown else "none"
