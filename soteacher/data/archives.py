"""Published archives: how they are verified and read without being extracted."""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from soteacher.core.errors import UserError, shown
from soteacher.data.places import Contents, contents, open_regular

MAX_BYTES = 1 << 28
"""Bytes above which a file of a folder is not read; the largest official one has 155 MB."""
ADDRESS = r"(https?|file)://\S+"
"""Pattern of the addresses that an archive may be downloaded from."""


@dataclass(frozen=True)
class Archive:
    """A published file, with the size and md5 that identify it."""

    name: str
    url: str
    """The official address."""
    size: int
    """bytes"""
    md5: str

    def unlike(self, path: Path) -> str | None:
        """Return how a file differs from this archive, or None if it is this archive."""
        try:
            size = path.stat().st_size
            if size != self.size:
                return f"it has {size} bytes, expected {self.size}"
            with path.open("rb") as file:
                md5 = hashlib.file_digest(file, _md5).hexdigest()
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        return None if md5 == self.md5 else f"its md5 is {md5}, expected {self.md5}"


def md5_of(data: bytes) -> str:
    """Return the md5 of bytes, in hexadecimal; data sets are published with it."""
    return _md5(data).hexdigest()


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def read_tar(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Return the files of a tar archive that have one of the names; missing ones are left out."""
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _check(member.name, not (member.isfile() or member.isdir()), path)
                if member.name in names and (file := archive.extractfile(member)) is not None:
                    contents[member.name] = file.read()
    except UserError:
        raise
    except Exception as error:  # a decoder may raise anything on broken bytes
        raise _broken(path, error) from error
    return contents


class Tree(Protocol):
    """The files below a folder, on the disk or in an archive; names are separated by slashes."""

    def names(self, folder: str) -> Contents:
        """Return the sorted names in a folder, without hidden ones; none if there is no folder."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes; raise `UserError` if there is no such file."""

    def where(self, name: str) -> str:
        """Return the path of a file or folder, for messages."""


@dataclass(frozen=True)
class Folder:
    """A tree on the disk."""

    path: Path

    def names(self, folder: str) -> Contents:
        """Return the names in a folder; none if the folder does not exist."""
        place = self.path / folder
        return contents(place) if os.path.isdir(place) else Contents([], [])

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        path = self.path / name
        try:
            with open_regular(path) as file:
                if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
                    raise UserError(
                        f"{shown(str(path))} has {size:,} bytes; expected at most {MAX_BYTES:,}: "
                        "replace it with the official file"
                    )
                return file.read()
        except OSError as error:
            raise UserError(
                f"cannot read {shown(str(path))}: {error.strerror}; check that the file exists and "
                "its permissions"
            ) from None

    def where(self, name: str) -> str:
        """Return the path of a file or folder."""
        return shown(str(self.path / name))


class Zip:
    """The tree below one folder of a zip archive."""

    def __init__(self, path: Path, root: str) -> None:
        self._path, self._root = path, root
        self._entries: dict[tuple[str, bool], set[str]] = {}
        """(folder, whether the entries are folders) to the names of its entries."""
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # as above
            raise _broken(path, error) from error
        for member in self._archive.infolist():
            _check(member.filename, stat.S_ISLNK(member.external_attr >> 16), path)
            self._add(member.filename.rstrip("/"), member.is_dir())

    def _add(self, name: str, is_folder: bool) -> None:
        folder, _, base_name = name.rpartition("/")
        known = self._entries.setdefault((folder, is_folder), set())
        if base_name not in known:
            known.add(base_name)
            if folder:  # archives may leave out the entries of folders
                self._add(folder, True)

    def names(self, folder: str) -> Contents:
        """Return the names in a folder; none if the folder does not exist."""
        folders, files = (
            sorted(
                name
                for name in self._entries.get((f"{self._root}/{folder}", is_folder), ())
                if not name.startswith(".")
            )
            for is_folder in (True, False)
        )
        return Contents(folders, files)

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        try:
            return self._archive.read(f"{self._root}/{name}")
        except KeyError:
            raise UserError(f"{self._path} has no {self._root}/{name}; use another copy") from None
        except Exception as error:  # as above
            raise _broken(self._path, error) from error

    def where(self, name: str) -> str:
        """Return the path of a file or folder, as if the archive were a folder."""
        return f"{self._path}/{self._root}/{name}"


def _check(name: str, is_link: bool, path: Path) -> None:
    """Refuse an archive with members that could write files anywhere when it is unpacked."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if is_link or ".." in parts or parts[:1] == ("/",):
        what = "a link or device" if is_link else "a file outside its folder"
        raise UserError(f"{path} is refused: it contains {what} ({name}); use another copy")


def _broken(path: Path, error: Exception) -> UserError:
    why = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"the archive {path} is damaged or truncated ({why}); use another copy")
