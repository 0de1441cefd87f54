"""The differences between the runs of a cell or point and the paper's experiment."""

from __future__ import annotations

from soteacher.study.paper import deviations
from soteacher.study.runs import Run
from soteacher.study.schema import Components, networks

ALONE_DIFFERS = "students alone (not in the paper)"
"""The difference between a row of students alone and the paper's tables, which have none."""


def run_deviations(runs: tuple[Run, ...], method: str, distiller: str = "") -> tuple[str, ...]:
    """Return the differences between runs and the paper's; `distiller` is for students only."""
    run = runs[0]  # the other runs differ only in the seed, which is not compared
    if run.teacher is None:
        return tuple(deviations(run.spec, method))
    differences = deviations(run.teacher.spec, method) + deviations(run.spec, distiller, method)
    return tuple(dict.fromkeys(differences))


def pair_deviations(
    study: Components, pair: str, runs: tuple[Run, ...], method: str, distiller: str
) -> tuple[str, ...]:
    """Return the differences between a pair's runs and the paper's runs of the same pair."""
    differing = run_deviations(runs, method, distiller)
    if networks(pair, study.pairs[pair]) != tuple(pair.split("/")):
        differing += ("the pair's name is not that of its networks",)
    return differing
