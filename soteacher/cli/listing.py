"""The list of the store's runs, one line per run."""

from __future__ import annotations

from pathlib import Path

from soteacher.cli.format import amount
from soteacher.store.prune import Stored, bytes_in


def listing(runs: list[Stored]) -> str:
    """Return one line per run (id, role, state, size, fingerprint, time of its end), and a sum."""
    rows = [
        (
            run.id,
            run.role,
            run.state.name,
            amount(run.bytes, "B"),
            run.path.name[:12],
            f"{run.finished:%Y-%m-%d %H:%M}" if run.finished else "",
        )
        for run in runs
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, f"runs: {len(runs)}, {amount(sum(r.bytes for r in runs), 'B')}"])


def of_data(folder: Path) -> str:
    """Return the line of a folder of prepared data."""
    return f"{folder.name}  prepared data  {amount(bytes_in(folder), 'B')}"


def confirmed(runs: list[Stored], data: list[Path], yes: bool) -> bool:
    """Print the runs and data to delete; return whether they are to be deleted."""
    print(listing(runs))
    for path in data:
        print(of_data(path))
    if not yes and (runs or data):
        print("nothing was deleted; add --yes to delete all of this")
    return yes and bool(runs or data)
