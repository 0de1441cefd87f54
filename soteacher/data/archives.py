"""Published archives: how to know them, and their files read where they lie, nothing extracted."""

from __future__ import annotations

import hashlib
import stat
import tarfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from soteacher.core.errors import UserError

ADDRESS = r"(https?|file)://\S+"
"""Where an archive may be downloaded from."""


@dataclass(frozen=True)
class Archive:
    """A published file, and how to know it."""

    name: str
    url: str
    """Its official address."""
    size: int
    """bytes"""
    md5: str

    def unlike(self, path: Path) -> str | None:
        """What shows that a file is not this one, or None if it is."""
        try:
            size = path.stat().st_size
            if size != self.size:
                return f"it has {size} bytes, expected {self.size}"
            with path.open("rb") as file:
                found = hashlib.file_digest(file, _md5).hexdigest()
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        return None if found == self.md5 else f"its md5 is {found}, expected {self.md5}"


def md5_of(data: bytes) -> str:
    """md5 of bytes, in hexadecimal: what data sets are published with."""
    return _md5(data).hexdigest()


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def read_tar(path: Path, names: Collection[str]) -> dict[str, bytes]:
    """Some files of a tar archive, by name: those of the names that are there."""
    found = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _check(member.name, not (member.isfile() or member.isdir()), path)
                if member.name in names and (file := archive.extractfile(member)) is not None:
                    found[member.name] = file.read()
    except UserError:
        raise
    except Exception as error:  # a decoder may raise anything on broken bytes
        raise _broken(path, error) from error
    return found


class Tree(Protocol):
    """The files below a folder, on the disk or in an archive; names have slashes between them."""

    def names(self, folder: str, folders: bool = False) -> list[str]:
        """What files, or folders, are in one of its folders, sorted; hidden ones are left out."""

    def read(self, name: str) -> bytes:
        """A file's bytes; `UserError` where there is none."""

    def where(self, name: str) -> str:
        """What messages call a file or folder."""


@dataclass(frozen=True)
class Folder:
    """A tree on the disk."""

    path: Path

    def names(self, folder: str, folders: bool = False) -> list[str]:
        """What files, or folders, are in a folder, sorted; none in one that is not there."""
        place = self.path / folder
        if not place.is_dir():
            return []
        try:
            return sorted(
                path.name
                for path in place.iterdir()
                if not path.name.startswith(".") and path.is_dir() == folders
            )
        except OSError as error:
            raise _unreadable(place, error) from None

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise _unreadable(self.path / name, error) from None

    def where(self, name: str) -> str:
        """Its path."""
        return str(self.path / name)


class Zip:
    """The tree below one folder of a zip archive."""

    def __init__(self, path: Path, root: str) -> None:
        self._path, self._root = path, root
        self._found: dict[tuple[str, bool], set[str]] = {}
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:  # as above
            raise _broken(path, error) from error
        for member in self._archive.infolist():
            _check(member.filename, stat.S_ISLNK(member.external_attr >> 16), path)
            self._add(member.filename.rstrip("/"), member.is_dir())

    def _add(self, name: str, is_folder: bool) -> None:
        folder, _, own = name.rpartition("/")
        known = self._found.setdefault((folder, is_folder), set())
        if own not in known:
            known.add(own)
            if folder:  # an archive need not list its folders
                self._add(folder, True)

    def names(self, folder: str, folders: bool = False) -> list[str]:
        """What files, or folders, are in a folder, sorted; none in one that is not there."""
        found = self._found.get((f"{self._root}/{folder}", folders), ())
        return sorted(name for name in found if not name.startswith("."))

    def read(self, name: str) -> bytes:
        """A file's bytes."""
        try:
            return self._archive.read(f"{self._root}/{name}")
        except KeyError:
            raise UserError(f"{self._path} has no {self._root}/{name}; take another copy") from None
        except Exception as error:  # as above
            raise _broken(self._path, error) from error

    def where(self, name: str) -> str:
        """Its path, as if the archive were a folder."""
        return f"{self._path}/{self._root}/{name}"


def _check(name: str, is_link: bool, path: Path) -> None:
    """Refuse an archive with members that could make a file anywhere if it were unpacked."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if is_link or ".." in parts or parts[:1] == ("/",):
        what = "a link or device" if is_link else "a file that would lie outside its folder"
        raise UserError(f"{path} is refused: it holds {what} ({name}); take another copy")


def _broken(path: Path, error: Exception) -> UserError:
    why = " ".join(str(error).split()) or type(error).__name__
    return UserError(f"the archive {path} is damaged or cut short ({why}); take another copy")


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot read {path}: {error.strerror}; put it there, or allow it")
