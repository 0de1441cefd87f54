"""Files that are either whole or not there, and the hashes that prove it."""

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

AGAIN = "the same snakemake command with `--forcerun prepare teach distill` makes what is missing"


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only once all of it is on the disk.

    A full disk, or any other failure to write, is a `UserError`; whatever had the name stays.
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
            f"cannot write {path}: {error.strerror or error}; make room or allow it and run the "
            "same command again: nothing finished is lost"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, what: str, wait: bool = True) -> Iterator[None]:
    """Own a folder. If another process does, say which, and wait until it has ended.

    The lock is the kernel's: it ends with its process, however that ends. Parts of files that a
    killed owner left behind are removed. `UserError` instead of a wait if `wait` is False.
    """
    with _lock(folder, what, wait) as file:
        file.truncate(0)
        file.write(process())
        file.flush()
        for left in folder.rglob(".part-*"):
            left.unlink(missing_ok=True)
        yield


def _lock(folder: Path, what: str, wait: bool) -> TextIO:
    """The folder's lock file, open and owned: whoever closes it gives the lock back."""
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
                log.info("%s: waiting for %s, which makes it", what, file.read() or "a process")
                fcntl.flock(file, fcntl.LOCK_EX)
            else:
                file.close()
                if holder := held_by(folder):
                    raise UserError(f"{what} is in use by {holder}") from None
                continue  # it was only asked for, see `held_by`
        with suppress(FileNotFoundError):
            # who waited may own the lock of a folder that was deleted, and made anew by others
            if os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return file
        file.close()


def held_by(folder: Path) -> str | None:
    """Who owns a folder at this moment, as `locked` noted it, or None.

    Whoever asks holds a shared lock for an instant, and no longer. That harms nobody: askers do
    not hinder each other, and an owner-to-be that meets one waits that instant out.
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
    """What locks and notes call a process: this one, or the one with these two facts."""
    return f"process {pid or os.getpid()} on {host or socket.gethostname()}"


def into_place(part: Path, path: Path) -> None:
    """Give a file that is on the disk its name in the same folder; whatever had the name goes."""
    os.replace(part, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write bytes, text, or what a function writes into a binary file; whole or not at all."""
    with writing(path) as file:
        if callable(data):
            data(file)
        else:
            file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path, what: str, missing_ok: bool = False) -> Any:
    """Read JSON; a missing or broken file is a `UserError` that names it and says what it is.

    With `missing_ok`, None where there is no such file.
    """
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        if missing_ok and isinstance(error, FileNotFoundError):
            return None
        raise UserError(f"cannot read {what} {path}: {error}; make it anew") from None


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked(path: Path, sha256: str, what: str) -> Path:
    """The path, if the file's hash is the recorded one; otherwise a `UserError`."""
    if not path.is_file():
        raise UserError(f"{what} is missing: {path}; {AGAIN}")
    found = sha256_of(path)
    if found != sha256:
        raise UserError(
            f"{what} has changed since it was recorded: {path} has sha256 {found[:16]}..., "
            f"expected {sha256[:16]}...; delete it, then {AGAIN}"
        )
    return path
