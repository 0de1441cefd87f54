"""Errors that a user can fix: each is one clear sentence, shown without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

T = TypeVar("T")
MOST_IN_MESSAGE = 1000
"""Maximum number of characters of a message."""
MOST_IN_VALUE = 100
"""Maximum number of characters of a name or value in a message."""


class UserError(ValueError):
    """A request fails; the text says what happened, what was expected and what to do.

    The text is one short line, also if it quotes a name or value with line breaks or of any length.
    Callers of the library can catch it as a `ValueError`. Code that catches `ValueError` around a
    call that may raise a `UserError` must let the `UserError` pass: its text is the better one.
    """

    def __init__(self, text: str) -> None:
        super().__init__(short(text, MOST_IN_MESSAGE))


class Damaged(UserError):
    """A file does not have the content that was written, or it belongs to something else."""


class Unreadable(UserError):
    """A file exists but cannot be read, for example without permission; it may be intact."""


class RunsFailed(UserError):
    """Some runs of a job ended with an exception; the others are finished."""


class Stopped(Exception):
    """A signal stopped the process; all states are saved, and the same command resumes."""


def short(text: str, most: int = MOST_IN_VALUE) -> str:
    """Return a text in one line; if it is longer than `most` characters, without its middle."""
    text = _cut(text, most)
    if text.isprintable():
        return text
    return _cut("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text), most)


def _cut(text: str, most: int) -> str:
    end = most // 3
    return text if len(text) <= most else f"{text[: most - end - 5]} ... {text[-end:]}"


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown name: it lists the known names and suggests the nearest."""
    known = sorted(known)
    name = short(str(name))
    near = difflib.get_close_matches(name, known, n=1)
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
