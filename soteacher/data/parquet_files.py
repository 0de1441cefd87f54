"""Tables of images in parquet files, as Hugging Face stores data sets. They need pyarrow."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from soteacher.core.errors import Missing, UserError, few, shown
from soteacher.data.places import check_place, contents, open_regular

SHARD = re.compile(r"-(\d+)-of-(\d+)$")
"""End of the names of files that are parts of a split, as Hugging Face writes them."""
ROWS = 64
"""Number of rows that are read at once."""


def files_of(folder: Path, split: str) -> list[Path]:
    """Return the files of a split, in order; raise `UserError` if there are none or not all.

    They are `<split>.parquet`, `<split>-*.parquet`, or all in a folder `<split>`.
    """
    check_place(folder)
    if not os.path.isdir(folder):
        error = UserError if os.path.exists(folder) else Missing
        raise error(
            f"{shown(str(folder))} is not a folder (working directory: {Path.cwd()}); expected a "
            "folder of parquet files: correct `path`"
        )
    inside = contents(folder)
    names = [name for name in inside.files if _is_of(name, split)]
    place = folder
    if not names and split in inside.folders:
        place = folder / split
        names = [name for name in contents(place).files if name.endswith(".parquet")]
    if not names:
        found = [name for name in inside.files if name.endswith(".parquet")]
        found += [f"{name}/" for name in inside.folders]
        raise UserError(
            f"no file {split}.parquet or {split}-*.parquet in {shown(str(folder))} (there: "
            f"{few(found)}): correct `path`, or name the split in `train` and `test`"
        )
    _check_shards(place, names)
    return [place / name for name in names]


def _is_of(name: str, split: str) -> bool:
    if not name.endswith(".parquet"):
        return False
    stem = name.removesuffix(".parquet")
    return stem == split or stem.startswith(f"{split}-")


def _check_shards(place: Path, names: list[str]) -> None:
    """Raise `UserError` if names say that they are some of more files."""
    parts = [SHARD.search(name.removesuffix(".parquet")) for name in names]
    numbers = [(int(part[1]), int(part[2])) for part in parts if part is not None]
    if not numbers:
        return
    of = numbers[0][1]
    if len(numbers) < len(names) or sorted(numbers) != [(k, of) for k in range(of)]:
        raise UserError(
            f"{shown(str(place))} has {few(names)}, by their names parts of {of} files; expected "
            "each part once and no other file of the split: download the others, or remove what "
            "does not belong to it"
        )


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a parquet file as `pyarrow.parquet.ParquetFile`; tell its errors in one line."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError(
            f"`source: parquet` needs pyarrow, which cannot be imported ({error}): run "
            "`pip install pyarrow`"
        ) from None
    try:
        with open_regular(path) as file:
            yield parquet.ParquetFile(file)
    except UserError:
        raise
    except Exception as error:  # a reader may raise anything on broken bytes
        why = getattr(error, "strerror", None) or " ".join(str(error).split()) or repr(error)
        advice = "download it again"
        if isinstance(error, PermissionError):
            advice = "check the permissions of the file and its folders, and try again"
        raise UserError(f"cannot read {shown(str(path))} ({why}); {advice}") from error


def rows(path: Path, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of some columns of a file, in order, a few rows at a time."""
    with opened(path) as table:
        for batch in table.iter_batches(batch_size=ROWS, columns=columns):
            yield batch.to_pylist()


def n_rows(path: Path) -> int:
    """Return the number of rows of a file; its rows are not read."""
    with opened(path) as table:
        return int(table.metadata.num_rows)


def column_types(path: Path) -> dict[str, Any]:
    """Return the name and the type, as pyarrow states it, of each column of a file."""
    with opened(path) as table:
        return {field.name: field.type for field in table.schema_arrow}


def class_names(path: Path, label: str) -> list[str] | None:
    """Return the names of the classes that Hugging Face wrote into a file, or None."""
    with opened(path) as table:
        metadata = table.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list and len(set(names)) == len(names) else None
