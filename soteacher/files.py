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
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from soteacher.errors import UserError

log = logging.getLogger("soteacher")

AGAIN = "`snakemake --forcerun prepare teach distill` makes anew what the store lacks"


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
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; make room or allow it and run the "
            "same command again: nothing finished is lost"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Own a folder. If another process does, say which, and wait until it has ended.

    The lock is the kernel's: it ends with its process, however that ends. Parts of files that a
    killed owner left behind are removed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")  # closed below, and with it the lock
    except OSError as error:
        raise UserError(f"cannot use the store: {folder}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            log.info("%s: waiting for %s, which makes it", what, file.read() or "a process")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        for left in folder.rglob(".part-*"):
            left.unlink(missing_ok=True)
        yield


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
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


def read_json(path: Path, what: str) -> Any:
    """Read JSON; a missing or broken file is a `UserError` that names it and says what it is."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
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
