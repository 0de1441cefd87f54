"""What the workflow asks of a command, in a file: a command line could not hold it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soteacher.core import files


@dataclass(frozen=True)
class Request:
    """A file that says what a command is to do.

    Its name has the hash of its text, so the path can stand for the text in a rule's `params`:
    they change together. The path is known before the file is written.
    """

    path: str
    text: str

    @classmethod
    def of(cls, folder: Path | str, name: str, said: Any) -> Request:
        """Return the request that says this, as JSON."""
        text = json.dumps(said, indent=1, sort_keys=True) + "\n"
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        return cls(str(Path(folder) / f"{name}-{sha256[:16]}.json"), text)

    def write(self) -> str:
        """Write the file unless it is there; return its path."""
        if not Path(self.path).is_file():
            files.write(Path(self.path), self.text)
        return self.path
