"""Paths in a study file: `~` is a home folder, `$NAME` and `${NAME}` are environment variables."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from soteacher.core.errors import short

_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})")
MOST_BYTES = 255
"""Longest name of a file or folder, on all common file systems."""


def expanded(path: str) -> str:
    """Return a path with its home folder and variables replaced by what they are on this machine.

    Raises `ValueError` if a variable has no value, if a home folder is not known, or if a name in
    the path is too long for a file system.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not os.environ.get(name):
            raise ValueError(
                f"the environment variable {name} of '{path}' is not set: set it, or write the path"
            )
        return os.environ[name]

    place = _VARIABLE.sub(value, path)
    try:
        place = str(Path(place).expanduser()) if place.startswith("~") else place
    except RuntimeError:
        raise ValueError(
            f"cannot find the home folder '{Path(place).parts[0]}' of '{path}': correct the path"
        ) from None
    if any(len(os.fsencode(name)) > MOST_BYTES for name in Path(place).parts):
        raise ValueError(
            f"expected names of at most {MOST_BYTES} bytes in the path '{short(path, 100)}'"
        )
    return place


Expanded = Annotated[str, AfterValidator(expanded)]
"""A path that is expanded where the study is read."""
