"""The regularizers and distillers that soteacher ships.

Tests ask for a row in config/README.md and a place in config/study.schema.json of each of them. A
method that is not listed here, for example one that you are developing, needs neither. `make lint`
runs this file: it compares the list with the files that git tracks, so that no method is shipped
without them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHIPPED = {
    "regularizer": (
        "augmix",
        "consistency",
        "crl",
        "cutmix",
        "l1",
        "label_smoothing",
        "lipschitz",
        "mcmi",
        "mixup",
        "mse",
    ),
    "distiller": (
        "ab",
        "at",
        "cc",
        "crd",
        "dist",
        "dkd",
        "fitnet",
        "ft",
        "kd",
        "logit_standardization",
        "nst",
        "pkt",
        "rco",
        "rkd",
        "sp",
        "sskd",
        "vid",
    ),
}
"""Kind to names, in alphabetical order."""


def tracked(root: Path) -> dict[str, tuple[str, ...]]:
    """Kind to the names of the methods that git tracks."""
    found = {}
    for kind in SHIPPED:
        command = ["git", "ls-files", f"soteacher/{kind}s/*.py"]
        paths = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        names = {Path(path).stem for path in paths.splitlines()} - {"__init__", "base"}
        found[kind] = tuple(sorted(names))
    return found


if __name__ == "__main__":
    for kind, names in tracked(Path(__file__).parents[2]).items():
        if names != SHIPPED[kind]:
            sys.exit(
                f"tests/unit/shipped_methods.py lists the {kind}s {', '.join(SHIPPED[kind])}, but "
                f"git tracks {', '.join(names)}; list each shipped method, give it a row in "
                "config/README.md, and run `soteacher schema > config/study.schema.json`"
            )
