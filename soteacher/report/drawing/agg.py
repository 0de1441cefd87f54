"""The import of matplotlib for figures that only become files."""

from __future__ import annotations

import os
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path


def import_matplotlib() -> None:
    """Import matplotlib with its own settings and the backend Agg, whatever the user's settings.

    The import fails if MPLBACKEND names a backend that is not installed, as in a process that was
    started from a notebook, or if the user's file matplotlibrc cannot be read. matplotlib first
    looks for that file in the working directory. Call this before other imports of matplotlib.
    """
    os.environ["MPLBACKEND"] = "Agg"
    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    with chdir(Path(package.origin).parent / "mpl-data"):  # it has the file with the defaults
        import matplotlib  # noqa: F401
