"""Errors that a user can fix: each is one clear sentence, shown without a traceback."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable
from typing import Any, TypeVar, get_args

T = TypeVar("T")
MOST_IN_MESSAGE = 1000
"""Maximum number of characters of a message."""
MOST_IN_VALUE = 100
"""Maximum number of characters of a name or value in a message."""

LONGEST = 300
"""Number of characters of a name above which a message shows only its beginning and its end."""


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


class Missing(UserError):
    """A place that a setting names, or data that the store should have, do not exist."""


class OutOfMemory(UserError):
    """The memory is not enough for runs that are trained together; one by one, they may fit."""


class RunsFailed(UserError):
    """Some runs of a job ended with an exception.

    retry : whether another attempt, in another process and with one run at a time, can help.
    """

    def __init__(self, text: str, retry: bool = False) -> None:
        super().__init__(text)
        self.retry = retry


class GpuLost(RunsFailed):
    """A CUDA error after which the process cannot use its GPU any more: it must end."""


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


def shown(name: str) -> str:
    """Return a name of a file or a class for a message of one line.

    It is escaped, in quotes, if it would not show what it is: control characters, bytes that are
    not UTF-8, spaces at an end, letters composed in another way. A very long name is cut.
    """
    is_plain = name.isprintable() and name == name.strip() == unicodedata.normalize("NFC", name)
    text = name if name and is_plain else ascii(name)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"


def few(names: Iterable[str]) -> str:
    """Return up to five names as a text, followed by the number of the others."""
    return _few([shown(name) for name in sorted(names)])


def only_in_one(first: Collection[str], second: Collection[str]) -> tuple[str, str]:
    """Return, as `few` does, the names that only the first and only the second collection has.

    A name with letters outside ASCII is escaped if a name of the other side is as long, because
    letters of different alphabets look alike.
    """
    sides = [sorted({*first} - {*second}), sorted({*second} - {*first})]
    lengths = [{len(unicodedata.normalize("NFC", name)) for name in side} for side in sides]
    texts = []
    for side, others in zip(sides, reversed(lengths), strict=True):
        alike = {name for name in side if not name.isascii() and len(name) in others}
        texts.append(_few([ascii(name) if name in alike else shown(name) for name in side]))
    return texts[0], texts[1]


def _few(texts: list[str]) -> str:
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return ", ".join(texts[:5]) + more if texts else "none"
