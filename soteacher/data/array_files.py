"""Arrays of NumPy in files: an .npz file, or the .npy files of a folder. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from soteacher.core.errors import Missing, UserError, shown
from soteacher.core.hashing import json_sha256
from soteacher.core.lazy import numpy as np
from soteacher.data.places import check_place, contents, open_regular


class ArrayFiles:
    """Named arrays at a place; `UserError` in one line for whatever cannot be read there."""

    def __init__(self, place: Path, key: str) -> None:
        """Open a place that the setting `key` names."""
        check_place(place)
        if not os.path.exists(place):
            raise Missing(
                f"{shown(str(place))} does not exist (working directory: {Path.cwd()}): correct "
                f"`{key}`"
            )
        self.place = place
        self._is_folder = os.path.isdir(place)
        if not self._is_folder and place.suffix != ".npz":
            raise UserError(
                f"{shown(str(place))} is not an .npz file and not a folder of .npy files: correct "
                f"`{key}`"
            )

    def names(self) -> list[str]:
        """Return the sorted names of the arrays."""
        if self._is_folder:
            files = contents(self.place).files
        else:
            with self._archive() as archive:
                files = sorted(archive.namelist())
            if len(set(files)) != len(files):
                raise UserError(
                    f"{shown(str(self.place))} has two arrays of one name: save it again"
                )
        return [name.removesuffix(".npy") for name in files if name.endswith(".npy")]

    def where(self, name: str) -> str:
        """Return what messages call an array."""
        if self._is_folder:
            return shown(str(self.place / f"{name}.npy"))
        return f"{name} of {shown(str(self.place))}"

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Return the shape and the type of an array, without reading its values."""
        with self._open(name) as file, _told(self.where(name)):
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        return shape, dtype

    def load(self, name: str) -> np.ndarray:
        """Return an array."""
        with self._open(name) as file, _told(self.where(name)):
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        return array

    def content_key(self, names: Iterable[str]) -> str:
        """Return a hash of the bytes of some arrays' files: those with one of the names."""
        wanted = {*names}
        hashes = {}
        for name in self.names():
            if name in wanted:
                with self._open(name) as file, _told(self.where(name)):
                    hashes[name] = _sha256(file)
        return json_sha256(hashes)

    @contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        with _told(shown(str(self.place))), open_regular(self.place) as file:
            archive = zipfile.ZipFile(file)
            yield archive

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if self._is_folder:
            with _told(self.where(name)), open_regular(self.place / f"{name}.npy") as file:
                yield file
        else:
            with self._archive() as archive, archive.open(f"{name}.npy") as member:
                yield member


def load_rows(place: Path) -> np.ndarray:
    """Return the array of an .npy file."""
    with _told(shown(str(place))), open_regular(place) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Tell whatever a reader raises in the `with` block as an error of this array."""
    try:
        yield
    except UserError:
        raise
    except MemoryError:
        raise UserError(
            f"cannot read {where}: this process has too little memory for it; use a machine with "
            "more memory"
        ) from None
    except Exception as error:  # a reader may raise anything on broken bytes
        why = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
        advice = "replace it with an intact copy"
        if isinstance(error, PermissionError):
            advice = "check the permissions of the file and its folders, and try again"
        elif "allow_pickle" in why:
            why = "it has Python objects, which could run code"
            advice = "save it again as an array of numbers or of texts (dtype='U')"
        raise UserError(f"cannot read {where} ({why}); {advice}") from error
