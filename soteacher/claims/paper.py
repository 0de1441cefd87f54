"""What the paper's own numbers say: printed means and standard deviations of three runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from soteacher.report.paper_values import RUNS, paper_values
from soteacher.statistics.welch import Summary

PAIRS = {
    "wrn_40_2/wrn_40_1": "table1",
    "wrn_40_2/wrn_16_2": "table1",
    "resnet32x4/shufflenet_v2": "table1",
    "resnet34/resnet18": "table2",
}
"""The paper's pairs, to the table with their accuracies."""
NETWORKS = {
    "wrn_40_2": "wrn_40_2/wrn_40_1",
    "resnet32x4": "resnet32x4/shufflenet_v2",
    "resnet34": "resnet34/resnet18",
}
"""The paper's teacher networks, to the first pair that has them."""
TABLE7 = "wrn_40_2/wrn_40_1"
"""The pair of Table 7."""

Cell = tuple[str, str, str]
Terms = dict[Cell, Summary]
"""A difference of printed means: table, row and column to a term of `statistics.welch`."""


def between(table: str, first: tuple[str, str], second: tuple[str, str]) -> Terms:
    """Return the difference of two cells of a table, each given by its row and column."""
    cells = (((table, *first), 1.0), ((table, *second), -1.0))
    return {cell: Summary(*_printed()[cell], RUNS, sign) for cell, sign in cells}


@cache
def _printed() -> dict[Cell, tuple[float, float]]:
    """Return the mean and the standard deviation in each cell of the paper's tables."""
    values = paper_values()[["mean", "sd"]].astype(float)
    return dict(zip(values.index, values.itertuples(index=False, name=None), strict=True))


def students(pair: str, role: str, reference: str = "standard") -> Terms:
    """Return the difference in the students' accuracy: Table 1 or 2, by KD."""
    column = f"{pair} student.top1"
    return between(PAIRS[pair], (role, column), (reference, column))


def teachers(network: str, role: str) -> Terms:
    """Return the difference to Standard in the teacher's accuracy: Table 1 or 2."""
    pair = NETWORKS[network]
    column = f"{pair} teacher.top1"
    return between(PAIRS[pair], (role, column), ("standard", column))


def calibration(network: str, measure: str) -> Terms:
    """Return the difference of SoTeacher to Standard in a measure of Table 3."""
    return between("table3", (f"{network} soteacher", measure), (f"{network} standard", measure))


def agreement(pair: str) -> Terms:
    """Return the difference of SoTeacher to Standard in agreement, in percent: Table 4."""
    column = f"{pair} student.agreement"
    return between("table4", ("soteacher", column), ("standard", column))


def distiller(pair: str, name: str) -> Terms:
    """Return the difference of SoTeacher to Standard with one distiller: Table 6."""
    return between("table6", (name, f"{pair} soteacher"), (name, f"{pair} standard"))


def regularizer(name: str, who: str) -> Terms:
    """Return the difference of a known regularizer to Standard; who: `student` or `teacher`."""
    column = f"{TABLE7} {who}.top1"
    return between("table7", (name, column), ("standard", column))


def distillers() -> list[str]:
    """Return the distillers of Table 6."""
    return list(dict.fromkeys(row for table, row, _ in _printed() if table == "table6"))


def mean_of(differences: Sequence[Terms]) -> Terms:
    """Return the mean of differences; a cell that several of them have becomes one term."""
    joined: Terms = {}
    for cell, term in (item for terms in differences for item in terms.items()):
        share = term.coefficient / len(differences)
        before = joined[cell].coefficient if cell in joined else 0.0
        joined[cell] = replace(term, coefficient=before + share)
    return joined
