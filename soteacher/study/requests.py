"""Write a command's inputs to a JSON file that is named by their hash.

The inputs of a job can be too long for a command line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soteacher.core import files
from soteacher.core.errors import Damaged


@dataclass(frozen=True)
class Request:
    """A JSON file with the inputs of a command.

    The file's name contains the hash of its text, so the path changes whenever the text does and
    can represent the text in a rule's `params`. The path is known before the file is written.
    """

    path: str
    text: str

    @classmethod
    def of(cls, folder: Path | str, name: str, values: Any) -> Request:
        """Return the request with these values, which must be JSON values."""
        text = json.dumps(values, indent=1, sort_keys=True) + "\n"
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return cls(str(Path(folder) / f"{name}-{sha256[:16]}.json"), text)

    def write(self) -> str:
        """Write the file unless it exists with this text; return its path."""
        try:
            existing = files.read_bytes(Path(self.path), "the request", missing_ok=True)
        except Damaged:  # a folder or a pipe; writing the file reports it
            existing = None
        if existing != self.text.encode():
            files.write(Path(self.path), self.text)
        return self.path


def read_request(path: Path, what: str) -> Any:
    """Return the values of a request; `Damaged` if its text has not the hash in its name.

    what : the content of the request, for the message.
    """
    try:
        text = files.read_bytes(path, what) or b""
        if not path.stem.endswith(f"-{hashlib.sha256(text).hexdigest()[:16]}"):
            raise Damaged(f"{what} has changed since it was written: {path}")
        return files.read_json(path, what)
    except Damaged as damage:
        raise Damaged(
            f"{damage}; rerun the same snakemake command, which writes it again"
        ) from None
