"""Files that are either complete or absent, and the hashes that prove it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from soteacher.core.errors import UserError

log = logging.getLogger("soteacher")

AGAIN = "rerun the same snakemake command with `--forcerun prepare teach distill` to recreate it"
"""What to do if a file of the store is missing; every message about that ends with it."""


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing; it gets its name only when all of it is on the disk.

    A full disk, or any other failure to write, raises `UserError`; an existing file with that name
    is kept.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as file:
            temporary = Path(file.name)
            os.fchmod(file.fileno(), 0o644)
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
        into_place(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free disk space or fix the folder's "
            "permissions, then rerun the same command: finished results are kept"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, what: str, wait: bool = True) -> Iterator[None]:
    """Lock a folder. If another process holds the lock, log which one, and wait until it ends.

    The kernel releases the lock when the process ends, in whatever way it ends. Partly written
    files that a killed process left behind are removed. If `wait` is False, raise `UserError`
    instead of waiting.
    """
    with _lock(folder, what, wait) as file:
        file.truncate(0)
        file.write(process())
        file.flush()
        for partial in folder.rglob(".part-*"):
            partial.unlink(missing_ok=True)
        yield


def _lock(folder: Path, what: str, wait: bool) -> TextIO:
    """Return the folder's lock file, open and locked; closing it releases the lock."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / "lock").open("a+")
        except FileNotFoundError:  # the folder was deleted in between
            continue
        except OSError as error:
            raise UserError(f"cannot use the store: {folder}: {error.strerror or error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait:
                file.seek(0)
                log.info("%s: waiting for %s, which is using it", what, file.read() or "a process")
                fcntl.flock(file, fcntl.LOCK_EX)
            else:
                file.close()
                if holder := held_by(folder):
                    raise UserError(f"{what} is in use by {holder}") from None
                continue  # another process only checked the lock, see `held_by`
        with suppress(FileNotFoundError):
            # during the wait, the folder may have been deleted and created again by others
            if os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return file
        file.close()


def held_by(folder: Path) -> str | None:
    """Return the process that holds the lock of a folder, as `locked` wrote it down, or None.

    The check holds a shared lock for an instant. Several checks do not block each other, and a
    process that needs the lock in that instant tries again.
    """
    try:
        file = (folder / "lock").open()
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or "a process"
    return None


def process(pid: int | None = None, host: str | None = None) -> str:
    """Return the name of a process in lock files and notes; by default, of this process."""
    return f"process {pid or os.getpid()} on {host or socket.gethostname()}"


def into_place(part: Path, path: Path) -> None:
    """Rename a file within its folder, durably; an existing file with that name is replaced."""
    os.replace(part, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write bytes, text, or what a function writes into a binary file: all of it or nothing."""
    with writing(path) as file:
        if callable(data):
            data(file)
        else:
            file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path, what: str, missing_ok: bool = False) -> Any:
    """Read JSON. A missing or broken file raises a `UserError` that names the file and its purpose.

    With `missing_ok`, return None if there is no such file.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return None
        raise UserError(
            f"cannot read {what} {path}: {error}; rerun the command that writes it"
        ) from None


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked(path: Path, sha256: str, what: str) -> Path:
    """Return the path if the file has the recorded hash; raise `UserError` otherwise."""
    if not path.is_file():
        raise UserError(f"{what} is missing: {path}; {AGAIN}")
    actual = sha256_of(path)
    if actual != sha256:
        raise UserError(
            f"{what} has changed since it was recorded: {path} has sha256 {actual[:16]}..., "
            f"expected {sha256[:16]}...; delete it, then {AGAIN}"
        )
    return path
