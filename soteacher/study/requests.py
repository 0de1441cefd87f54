"""What the workflow asks of a command, in a file: a command line could not hold it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from soteacher.core import files


def write_request(folder: Path, name: str, said: Any) -> str:
    """Path of a file that says this, written unless it is there.

    Its name has the hash of what it says. So the path may stand for that in a rule's `params`:
    where the one changes, so does the other.
    """
    text = json.dumps(said, indent=1, sort_keys=True) + "\n"
    path = Path(folder) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not path.is_file():
        files.write(path, text)
    return str(path)
