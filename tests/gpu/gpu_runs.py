"""The runs that a check measures: those of a study, with its sizes, on generated images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from soteacher.study.expand import expand
from soteacher.study.load import merged, read
from soteacher.study.plan import Plan

EPOCH = 100
"""Number of steps of an epoch: the draws at its start then cost little, as in a study."""
LEARNING_RATE = 0.001
"""So small that no network diverges on noise; it does not change the time of a step."""
CPU_BATCH = 2
"""Images of a batch on a CPU, which only shows that the check works."""
PAIRS, OVERHEAD = "pairs", "overhead"
"""Names of the tables whose runs are measured."""


def plan_of(files: list[Path], device: str, precision: str) -> Plan:
    """Return the plan of a check.

    It has one teacher of every teacher network and one student of every pair, by the study's first
    teacher method and first distiller, and the study's first table of step times. The precision of
    the study is replaced by the given one; `UserError` is raised if it is not known.
    """
    values = merged(files[0], *files[1:])
    study = read(values)
    for recipe in values["recipes"].values():
        recipe["lr"] = LEARNING_RATE
        if device == "cpu":
            recipe["batch"] = CPU_BATCH
    n_train = EPOCH * max(recipe["batch"] for recipe in values["recipes"].values())
    data = {}
    for name, data_set in study.data.items():
        outline = data_set.source.outline()
        data[name] = {
            "source": "generated",
            "n_train": max(n_train, outline.n_classes),
            "n_test": outline.n_classes,
            "size": outline.height,
            "n_classes": outline.n_classes,
            "augment": values["data"][name].get("augment", {}),
        }
    tables: dict[str, Any] = {
        PAIRS: {
            "kind": "accuracy",
            "pairs": list(values["pairs"]),
            "teachers": [next(iter(values["teachers"]))],
            "distillers": [next(iter(values["distillers"]))],
        }
    }
    timed = [table for table in values["tables"].values() if table["kind"] == "overhead"]
    if timed:
        tables[OVERHEAD] = timed[0]
    values |= {"study": "gpu_check", "seeds": [0], "device": device, "precision": precision}
    return expand(read(values | {"data": data, "tables": tables, "figures": {}}))
