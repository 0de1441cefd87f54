"""What the runs of a cell or point differ in from the paper's own experiment."""

from __future__ import annotations

from soteacher.study.paper import deviations
from soteacher.study.runs import Run
from soteacher.study.schema import Components, networks


def run_deviations(runs: tuple[Run, ...], method: str, distiller: str = "") -> tuple[str, ...]:
    """Return what runs differ in from the paper's; the distiller is given for students."""
    run = runs[0]  # the others have other seeds, and those may be any
    if run.teacher is None:
        return tuple(deviations(run.spec, method))
    found = deviations(run.teacher.spec, method) + deviations(run.spec, distiller, method)
    return tuple(dict.fromkeys(found))


def pair_deviations(
    study: Components, pair: str, runs: tuple[Run, ...], method: str, distiller: str
) -> tuple[str, ...]:
    """Return what a pair's runs differ in from what the paper has under the pair's name."""
    differing = run_deviations(runs, method, distiller)
    if networks(pair, study.pairs[pair]) != tuple(pair.split("/")):
        differing += ("the pair's name is not that of its networks",)
    return differing
