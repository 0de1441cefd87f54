"""Errors that a user can fix: each is one clear sentence, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

T = TypeVar("T")


class UserError(ValueError):
    """A request fails; the text says what happened, what was expected and what to do.

    Callers of the library can catch it as a `ValueError`. Code that catches `ValueError` around a
    call that may raise a `UserError` must let the `UserError` pass: its text is the better one.
    """


class Damaged(UserError):
    """A file does not have the content that was written, or it belongs to something else."""


class Unreadable(UserError):
    """A file exists but cannot be read, for example without permission; it may be intact."""


class RunsFailed(UserError):
    """Some runs of a job ended with an exception; the others are finished."""


class Stopped(Exception):
    """A signal stopped the process; all states are saved, and the same command resumes."""


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: it lists the known names and suggests the nearest."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"unknown {what} '{name}'; known: {', '.join(known) or 'none'}{hint}"


def one_of(what: str, name: T, literal: Any) -> T:
    """Return the name if the `Literal` allows it; raise `UserError` otherwise."""
    if name not in get_args(literal):
        raise UserError(unknown(what, str(name), get_args(literal)))
    return name


def few(names: Iterable[str]) -> str:
    """Return up to five names as a text, followed by the number of the others."""
    shown = sorted(names)
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return ", ".join(shown[:5]) + more if shown else "none"
