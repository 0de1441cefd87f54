"""Folders and files on the disk, read so that nothing in them can make a command wait for ever."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from soteacher.core.errors import UserError, shown

SYSTEM_FOLDERS = frozenset(
    {"@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN"}
    | {"__MACOSX", "lost+found", "System Volume Information"}
)
"""Names of folders that file servers and operating systems create among those of their users."""


class Contents(NamedTuple):
    """The sorted names in a folder, without hidden ones and without `SYSTEM_FOLDERS`."""

    folders: list[str]
    files: list[str]
    """Regular files, and links that lead nowhere."""


def contents(folder: Path) -> Contents:
    """Return the names in a folder; raise `UserError` if something there is no file and no folder.

    A FIFO, a socket or a device could be read without an end, and so could a link to one.
    """
    found = Contents([], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    is_folder, is_file = os.path.isdir(entry.path), os.path.isfile(entry.path)
                    is_file = is_file or not os.path.exists(entry.path)
                else:
                    is_folder, is_file = entry.is_dir(), entry.is_file()
                if is_folder:
                    found.folders.append(entry.name)
                elif is_file:
                    found.files.append(entry.name)
                else:
                    raise _special(Path(entry.path))
    except OSError as error:
        raise _no_permission(folder, error) from None
    folders = (name for name in found.folders if name not in SYSTEM_FOLDERS)
    return Contents(sorted(folders), sorted(found.files))


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; raise `UserError` if the path names something else.

    Raises `OSError` if the file cannot be opened.
    """
    # without O_NONBLOCK, opening a FIFO waits until another process writes into it
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(0, "it is a folder")
        raise _special(path)
    return os.fdopen(descriptor, "rb")


def check_place(path: Path) -> None:
    """Raise `UserError` if what is at the path is neither a file nor a folder, or may not be seen.

    Without permission for a folder in the path, there would seem to be nothing.
    """
    try:
        path.stat()
    except PermissionError as error:
        raise _no_permission(path, error) from None
    except (OSError, ValueError):  # there is nothing
        return
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise _special(path)


def _no_permission(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot read {shown(str(path))}: {error.strerror}; check the permissions of the folder "
        "and of those around it, and try again"
    )


def _special(path: Path) -> UserError:
    return UserError(
        f"{shown(str(path))} is a FIFO, a socket or a device, or a link to one; expected a regular "
        "file or a folder: remove it"
    )
