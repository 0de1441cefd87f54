"""Lists of hashes beside result files, in the format of `sha256sum`.

`sha256sum --check FILE` in the folder of a list compares its files; so does every command that
reads one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from soteacher.core import files
from soteacher.core.errors import Damaged

SUFFIX = ".sha256"


def write_hash_list(main: Path, others: Iterable[Path] = ()) -> None:
    """Write the hashes of files in one folder to the list that is named after the first one."""
    lines = [f"{files.sha256_of(path)}  {path.name}\n" for path in (main, *others)]
    files.write(main.with_suffix(SUFFIX), "".join(lines))


def read_listed(path: Path, main: Path | None = None) -> bytes:
    """Return the content of a file, which must have its hash in the list.

    main : the file that the list is named after, by default the file itself.   Raises `Damaged` if
    the list lacks the file or has another hash for it, or if one of the two is missing.
    """
    listing = (main or path).with_suffix(SUFFIX)
    try:
        text = files.read_bytes(listing, f"the hashes of {path.name}") or b""
        data = files.read_bytes(path, "the result") or b""
        line = f"{hashlib.sha256(data).hexdigest()}  {path.name}"
        if line not in text.decode("utf-8", errors="replace").splitlines():
            raise Damaged(f"{path} has changed since it was made: {listing} has another hash")
    except Damaged as damage:
        raise Damaged(
            f"{damage}; delete both and rerun the same snakemake command to recreate them"
        ) from None
    return data
