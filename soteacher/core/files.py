"""Files that are either complete or absent, and the hashes that prove it.

All text is UTF-8, in every locale.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from soteacher.core.errors import Damaged, Unreadable, UserError

log = logging.getLogger("soteacher")

AGAIN = "rerun the same snakemake command with `--forcerun prepare teach distill` to recreate it"
"""What to do if a file of the store is missing; every message about that ends with it."""
TRIES = 1000
"""How often a lock is tried whose folder other processes delete in between."""
CHUNK = 2**20
"""Bytes that are hashed and written at a time: they are still in the CPU's cache when written."""


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
        with suppress(OSError):  # on a full disk, others wait for "a process"
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), process().encode())
        for partial in folder.rglob(".part-*"):
            partial.unlink(missing_ok=True)
        yield


def _lock(folder: Path, what: str, wait: bool) -> TextIO:
    """Return the folder's lock file, open and locked; closing it releases the lock."""
    for _ in range(TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / "lock").open("a+", encoding="utf-8", errors="replace")
        except FileNotFoundError as error:
            if (folder / "lock").is_symlink():
                raise _unusable(folder, "its file `lock` is a link to nothing") from error
            continue  # the folder was deleted in between
        except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
            raise _unusable(folder, reason(error)) from error
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
        except OSError as error:  # this file system has no locks
            file.close()
            raise _unusable(folder, f"it cannot be locked: {reason(error)}") from error
        with suppress(FileNotFoundError):
            # during the wait, the folder may have been deleted and created again by others
            if os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return file
        file.close()
    raise _unusable(folder, "it cannot be created, or it is deleted again and again")


def _unusable(folder: Path, why: str) -> UserError:
    return UserError(
        f"cannot use the store: {folder}: {why}; correct `store`, or the permissions of its "
        "folders, then rerun the same command"
    )


def held_by(folder: Path) -> str | None:
    """Return the process that holds the lock of a folder, as `locked` wrote it down, or None.

    The check holds a shared lock for an instant. Several checks do not block each other, and a
    process that needs the lock in that instant tries again.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_NONBLOCK)
        file = os.fdopen(descriptor, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_access(folder / "lock", "the lock", error) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read() or "a process"
        except OSError:  # this file system has no locks, so no process holds one
            return None
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


def write_hashed(path: Path, data: bytes | Callable[[BinaryIO], object]) -> str:
    """Write as `write` does, and hash the bytes while they are written; return their sha256."""
    with writing(path) as file:
        hashing = _Hashing(file)
        if callable(data):
            data(cast(BinaryIO, hashing))
        else:
            for start in range(0, len(data), CHUNK):
                hashing.write(memoryview(data)[start : start + CHUNK])
    return hashing.sha256.hexdigest()


class _Hashing:
    """A file that can only be written; it hashes what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self.sha256.update(data)
        return self._file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON with sorted keys."""
    write(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_bytes(path: Path, what: str, missing_ok: bool = False) -> bytes | None:
    """Return the content of a regular file, without waiting for one that is none (a named pipe).

    Raises
    ------
    Damaged
        There is no such file, and not `missing_ok` (then None is returned), or it is not a file.
    Unreadable
        The file exists, but reading it failed.
    """
    try:
        # O_NONBLOCK: opening a named pipe would wait for a writer
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Damaged(f"cannot read {what}, {path}: it is not a regular file")
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        if missing_ok:
            return None
        raise Damaged(f"cannot read {what}, {path}: there is no such file") from None
    except IsADirectoryError:
        raise Damaged(f"cannot read {what}, {path}: it is a folder") from None
    except OSError as error:
        raise _no_access(path, what, error) from None


def _no_access(path: Path, what: str, error: OSError) -> Unreadable:
    return Unreadable(
        f"cannot read {what}, {path}: {reason(error)}; it may be intact: give this user the "
        "permission to read it, or repair the disk, then rerun the same command"
    )


def is_file(path: Path, what: str) -> bool:
    """Return whether there is such a file; `Unreadable` if that cannot be seen."""
    try:  # not `Path.is_file`: from Python 3.14 on, it says that unreadable files do not exist
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _no_access(path, what, error) from None


def folders_in(place: Path, what: str) -> list[Path]:
    """Return the folders in a folder, sorted; none if it does not exist.

    Raises `Unreadable` if they cannot be seen: then they are not taken for absent.
    """
    try:
        return sorted(path for path in place.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _no_access(place, what, error) from None


def reason(error: Exception) -> str:
    """Return why an operation on a file failed, in one line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)


def read_json(path: Path, what: str, missing_ok: bool = False) -> Any:
    """Return the value of a JSON file; `Damaged` names the file and its purpose if it has none.

    With `missing_ok`, return None if there is no such file. See `read_bytes` for other errors.
    """
    data = read_bytes(path, what, missing_ok)
    if data is None:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested too deep
        raise Damaged(f"cannot read {what}, {path}: it is damaged ({reason(error)})") from None


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked(path: Path, sha256: str, what: str, remedy: str = "") -> Path:
    """Return the path if the file has the recorded hash; otherwise, raise an error.

    Raises `Damaged` if it is missing or has another hash, `Unreadable` if reading it failed.

    remedy : what to do about damage, for a file that is not in the store.
    """
    if not is_file(path, what):
        raise Damaged(f"{what} is missing: {path}; {remedy or AGAIN}")
    try:
        actual = sha256_of(path)
    except OSError as error:
        raise _no_access(path, what, error) from None
    if actual != sha256:
        raise Damaged(
            f"{what} has changed since it was recorded: {path} has sha256 {actual[:16]}..., "
            f"expected {sha256[:16]}...; {remedy or f'delete it, then {AGAIN}'}"
        )
    return path
