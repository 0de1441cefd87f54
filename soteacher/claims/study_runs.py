"""The runs of a study as claims need them: values of a measure by seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from soteacher.report.cells import PERCENT
from soteacher.statistics.images import difference_over_images

FACTS = ("data", "pair", "method", "distiller", "seed", "role", "network", "teacher_network")
NEEDED = (*FACTS, "teacher_epoch", "run", "spec_sha256", "status", "top1")
"""Columns of runs.csv that claims need; other measures are used if they are there."""

UNITS = dict.fromkeys(PERCENT, "percentage points") | {
    "ece": "ECE",
    "ece_scaled": "ECE",
    "nll": "nats",
    "nll_scaled": "nats",
    "predictive_kl": "nats",
}


def unit(measure: str) -> str:
    """Return the unit of differences of a measure."""
    return UNITS.get(measure, measure.replace("_", " "))


@dataclass(frozen=True)
class Teachers:
    """The runs of one teacher network on one data set."""

    data: str
    network: str


@dataclass(frozen=True)
class Students:
    """The runs of the students of one pair with one distiller."""

    pair: str
    data: str
    distiller: str


class StudyRuns:
    """The runs table of a study, and the record that says what its methods are.

    runs : the table in runs.csv, texts as text.     record : see `study.claims_record`.
    steps : the timed training steps of the study: network, method, step and seconds.
    """

    def __init__(self, runs: pd.DataFrame, record: dict[str, Any], steps: pd.DataFrame) -> None:
        self.runs, self.record, self.steps = runs.astype(object), record, steps
        self._values: dict[tuple[Teachers | Students, str, str], pd.Series] = {}

    @cached_property
    def pairs(self) -> dict[str, dict[str, str]]:
        """Name to data set, teacher network and student network of each pair."""
        return {pair["pair"]: pair for pair in self.record["pairs"]}

    @cached_property
    def roles(self) -> dict[str, str]:
        """Name of each teacher method to its role."""
        return {one["method"]: one["role"] for one in self.record["methods"]}

    def methods(self, role: str, data: str) -> list[str]:
        """Return the methods with this role on a data set; the first one is the primary one."""
        return [
            one["method"]
            for one in self.record["methods"]
            if one["data"] == data and one["role"] == role
        ]

    def settings(self, method: str, data: str) -> dict[str, Any]:
        """Return regularizer to settings of a method on a data set."""
        [terms] = [
            one["terms"]
            for one in self.record["methods"]
            if one["data"] == data and one["method"] == method
        ]
        return terms

    def distillers(self, kd: bool = True) -> list[str]:
        """Return the distillers that are knowledge distillation alone, or all others."""
        return [name for name, method in self.record["distillers"] if (method == "kd") == kd]

    @cached_property
    def teacher_groups(self) -> list[Teachers]:
        """The teacher networks of the study, in the order of its pairs."""
        groups = (Teachers(pair["data"], pair["teacher"]) for pair in self.record["pairs"])
        return list(dict.fromkeys(groups))

    def student_groups(self, distillers: Iterable[str]) -> list[Students]:
        """Return the students of every pair with these distillers, in the order of the pairs."""
        chosen = list(distillers)
        return [
            Students(pair["pair"], pair["data"], distiller)
            for pair in self.record["pairs"]
            for distiller in chosen
        ]

    def heading(self, group: Teachers | Students) -> str:
        """Return the pair, or the teacher network with its data set if it has several."""
        if isinstance(group, Students):
            return group.pair
        several = sum(other.network == group.network for other in self.teacher_groups) > 1
        return f"{group.data} {group.network}" if several else group.network

    def rows(self, group: Teachers | Students, method: str, epochs: bool = False) -> pd.DataFrame:
        """Return the runs of a method, also those that diverged.

        epochs : for students, those of the teacher's earlier epochs too.
        """
        if isinstance(group, Teachers):
            place = ("teacher", group.data, group.network, "", "", method)
        else:
            network = self.pairs[group.pair]["student"]
            place = ("student", group.data, network, group.pair, group.distiller, method)
        return (self._with_epochs if epochs else self._last).get(place, self._none)

    @cached_property
    def _with_epochs(self) -> dict[tuple[str, ...], pd.DataFrame]:
        return _by_place(self.runs)

    @cached_property
    def _last(self) -> dict[tuple[str, ...], pd.DataFrame]:
        return _by_place(self.runs[self.runs["teacher_epoch"] == ""])

    @cached_property
    def _none(self) -> pd.DataFrame:
        return self.runs[:0]

    def measures(self, group: Teachers | Students, method: str, measure: str) -> bool:
        """Return whether a method is planned, and its finished runs, if any, have the measure."""
        rows = self.rows(group, method)
        if rows.empty or measure not in rows:
            return False
        done = rows["status"] == "done"
        return not done.any() or bool((done & (rows[measure] != "")).any())

    def values(self, group: Teachers | Students, method: str, measure: str) -> pd.Series:
        """Return a measure by seed, as it is shown: NaN for a run that is not done."""
        place = (group, method, measure)
        if place not in self._values:
            self._values[place] = measured(self.rows(group, method), measure)
        return self._values[place]

    def are_papers(self, group: Teachers | Students, *methods: str) -> bool:
        """Return whether the runs of all these methods are the paper's experiment."""
        place = (
            (group.data, group.network)
            if isinstance(group, Teachers)
            else (group.pair, group.distiller)
        )
        return all([*place, method] in self.record["papers"] for method in methods)

    def over_images(
        self, group: Teachers | Students, method: str, reference: str
    ) -> tuple[float, float] | None:
        """Return an interval of the difference in accuracy over test images, for a single seed.

        It is None if there are several seeds, or no intervals in the table.
        """
        ends = ("top1", "top1_low", "top1_high")
        if not {*ends} <= {*self.runs.columns}:
            return None
        both = [
            pd.DataFrame({end: measured(self.rows(group, name), end) for end in ends}).dropna()
            for name in (method, reference)
        ]
        common = both[0].index.intersection(both[1].index)
        if len(common) != 1:
            return None
        first, second = (list(frame.loc[common[0]]) for frame in both)
        return difference_over_images(first, second)[1:]


def _by_place(runs: pd.DataFrame) -> dict[tuple[str, ...], pd.DataFrame]:
    """Return the runs of each group and method."""
    keys = ["role", "data", "network", "pair", "distiller", "method"]
    return {place: rows for place, rows in runs.groupby(keys, sort=False)}


def measured(rows: pd.DataFrame, measure: str) -> pd.Series:
    """Return a measure by seed; shares that are shown in percent are multiplied by 100."""
    values = pd.to_numeric(rows[measure], errors="coerce").where(rows["status"] == "done")
    of_end = measure.removesuffix("_low").removesuffix("_high")
    scale = 100 if of_end in PERCENT else 1
    return pd.Series(values.to_numpy() * scale, index=rows["seed"].to_numpy(), dtype=float)
