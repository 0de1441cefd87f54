"""The machines that trained the runs, in words."""

from __future__ import annotations

import pandas as pd

from soteacher.core.precisions import PRECISIONS

VERSIONS = ("torch", "soteacher")


def machine(run: pd.Series) -> str:
    """Return the device and everything else that a run's exact result and times depend on."""
    capability = f"{run['capability']}, " if run["capability"] else ""
    threads = "1 thread" if int(run["threads"]) == 1 else f"{int(run['threads'])} threads"
    versions = ", ".join(f"{name} {run[name]}" for name in VERSIONS)
    return f"{run['device']} ({capability}{threads}), {run['precision']}, {versions}"


def trained_on(runs: pd.DataFrame) -> str:
    """Return the machines that trained finished runs, without duplicates, joined by semicolons.

    An oracle and an imported teacher are not trained, so they have no device.
    """
    trained = runs[runs["device"] != ""]
    return "; ".join(dict.fromkeys(machine(run) for _, run in trained.iterrows()))


def machine_notes(table: pd.DataFrame) -> list[str]:
    """Return notes on the machines and precisions of a table's runs; an empty list without runs."""
    cells = [text for cell in table["trained_on"].dropna() for text in cell.split("; ") if text]
    used = [*dict.fromkeys(cells)]
    if not used:
        return []
    notes = [f"Trained on {'; and on '.join(used)}."]
    words = {word for text in used for word in text.split(", ")}
    precisions = [name for name in PRECISIONS if name in words]
    if len(precisions) > 1:
        notes.append(f"The runs differ in precision: {', '.join(precisions)}.")
    return notes
