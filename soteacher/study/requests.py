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
        """Write the file unless it exists; return its path."""
        if not Path(self.path).is_file():
            files.write(Path(self.path), self.text)
        return self.path
