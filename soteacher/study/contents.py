"""The content of tables and figures: cells, points, and anything else that a kind shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from soteacher.study.runs import Run


class Reading(str):
    """A difference from the authors' code in a setting that follows the text of the paper.

    Both readings are the paper's experiment, so its number is still shown.
    """


def is_papers(differences: Iterable[str]) -> bool:
    """Return whether runs with these differences are still the paper's experiment."""
    return all(isinstance(text, Reading) for text in differences)


class Content(ABC):
    """The content of one table or figure."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs with measures in the table or figure, without duplicates."""
        return ()

    @property
    def deviations(self) -> tuple[tuple[str, ...], ...]:
        """The differences from the paper's experiment, for each cell or point."""
        return ()

    @property
    def timing_request(self) -> dict[str, Any] | None:
        """The training steps to time, in the form that `training.step_timing` reads, or None."""
        return None

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return the input of the kind's report, as JSON values."""


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean of a measure over runs, one per seed."""

    row: str
    column: str
    measure: str
    runs: tuple[Run, ...]
    """Empty for a number that does not exist, such as the accuracy of a missing teacher."""
    deviations: tuple[str, ...]
    """The differences from the paper's experiment. If there are only readings of its text, the
    paper's number is shown."""
    paper_row: str = ""
    """The name of the row in the paper, if `row` is more detailed."""


@dataclass(frozen=True)
class Cells(Content):
    """The content of a table of runs: its cells, row by row."""

    cells: tuple[Cell, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of all cells."""
        return _each_once(run for cell in self.cells for run in cell.runs)

    @property
    def deviations(self) -> tuple[tuple[str, ...], ...]:
        """The deviations of each cell."""
        return tuple(cell.deviations for cell in self.cells)

    def record(self) -> dict[str, Any]:
        """Return the cells."""
        cells = [
            {
                "row": cell.row,
                "column": cell.column,
                "measure": cell.measure,
                "role": cell.runs[0].role if cell.runs else "",
                "runs": [run.id for run in cell.runs],
                "papers": is_papers(cell.deviations),
                "paper_row": cell.paper_row,
            }
            for cell in self.cells
        ]
        return {"cells": cells}


@dataclass(frozen=True)
class Point:
    """One line, or one point of a line, of a figure: runs, one per seed."""

    panel: str
    series: str
    runs: tuple[Run, ...]
    teachers: tuple[Run, ...] = ()
    """The teachers of the runs, if the figure shows both."""
    deviations: tuple[str, ...] = ()
    """The differences from the paper's experiment, except for what the figure varies."""
    position: Mapping[str, Any] = field(default_factory=dict)
    """Name to JSON value of anything else that determines where the point is drawn, such as the
    epoch or the value of the panel's setting."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "position", MappingProxyType(dict(self.position)))

    def record(self) -> dict[str, Any]:
        """Return the point as JSON values: `runs`, or `students` and their `teachers`."""
        ids = [run.id for run in self.runs]
        of_both = {"students": ids, "teachers": [run.id for run in self.teachers]}
        shown = of_both if self.teachers else {"runs": ids}
        return {"panel": self.panel, "series": self.series, **self.position, **shown}


@dataclass(frozen=True)
class Points(Content):
    """The content of a figure, in the order in which it is drawn."""

    points: tuple[Point, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of all points and the teachers that are shown with them, without duplicates."""
        return _each_once(run for point in self.points for run in (*point.teachers, *point.runs))

    @property
    def deviations(self) -> tuple[tuple[str, ...], ...]:
        """The deviations of each point."""
        return tuple(point.deviations for point in self.points)

    def record(self) -> dict[str, Any]:
        """Return the points."""
        return {"points": [point.record() for point in self.points]}


def _each_once(runs: Iterable[Run]) -> tuple[Run, ...]:
    return tuple({run.id: run for run in runs}.values())
