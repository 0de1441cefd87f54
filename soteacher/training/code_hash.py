"""The hash of the code that computed a run."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


@cache
def code_sha256() -> str:
    """Return one hash of this package's Python files; it is recorded, but in no spec."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()
