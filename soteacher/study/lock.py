"""The lock of the folder `results/<study>`: one Snakemake at a time makes a study there.

Snakemake's own lock stays behind when Snakemake is killed. The kernel releases this one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from soteacher.core.files import process


@contextmanager
def one_at_a_time(results: Path, say: Callable[[str], object]) -> Iterator[None]:
    """Hold the lock of a study's results; if another process holds it, wait until that one ends.

    say : gets one line if this process waits, or if the folder cannot be locked. In the second case
    the work continues without a lock: the folder may be read-only, and nothing may be left to do.

    Processes that this one starts do not inherit the lock.
    """
    descriptor = None
    try:
        try:
            descriptor = _lock(results, say)
        except OSError as error:
            why = error.strerror or error
            say(f"cannot lock {results}: {why}; run no second snakemake for this study here")
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def alone(
    execute: Callable[..., Any],
    results: Path,
    needed: Callable[..., bool],
    first: Callable[[], object],
    say: Callable[[str], object],
) -> Callable[..., Any]:
    """Return `execute` as a function that holds the lock of the results, if it is needed.

    needed : gets the arguments of the call.
    first : is called when the lock is held, before `execute`.
    say : that of `one_at_a_time`.
    """

    def execute_alone(*arguments: Any, **settings: Any) -> Any:
        if not needed(*arguments, **settings):
            return execute(*arguments, **settings)
        with one_at_a_time(results, say):
            first()
            return execute(*arguments, **settings)

    return execute_alone


def _lock(results: Path, say: Callable[[str], object]) -> int:
    path = results / "lock"
    while True:
        results.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # closed when a child starts
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 1000, 0).decode(errors="replace")
                say(f"{results}: waiting for {holder or 'a process'}, which makes this study here")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                # during the wait, the folder may have been deleted and created again by others
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    _write_name(descriptor)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _write_name(descriptor: int) -> None:
    with suppress(OSError):  # a full disk: the lock works without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, process().encode(), 0)
