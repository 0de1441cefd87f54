"""What tables and figures show: cells, points, and what else a kind of table or figure has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from soteacher.study.runs import Run


class Content(ABC):
    """What one table or figure shows."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs whose measures are shown, each once."""
        return ()

    @property
    def deviations(self) -> tuple[tuple[str, ...], ...]:
        """For each cell or point of runs, what differs from the paper's own experiment."""
        return ()

    @property
    def timing_request(self) -> dict[str, Any] | None:
        """Which training steps are timed for it, as `training.step_timing` reads it, or None."""
        return None

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return what the report of the kind is made from, as JSON values."""


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean of a measure over runs, one per seed."""

    row: str
    column: str
    measure: str
    runs: tuple[Run, ...]
    deviations: tuple[str, ...]
    """What differs from the paper's own experiment; its number is shown where nothing does."""
    paper_row: str = ""
    """The name of the row in the paper, where ours has to say more."""


@dataclass(frozen=True)
class Cells(Content):
    """The content of a table of runs, row by row."""

    cells: tuple[Cell, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs of all cells."""
        return _each_once(run for cell in self.cells for run in cell.runs)

    @property
    def deviations(self) -> tuple[tuple[str, ...], ...]:
        """Those of each cell."""
        return tuple(cell.deviations for cell in self.cells)

    def record(self) -> dict[str, Any]:
        """Return the cells."""
        cells = [
            {
                "row": cell.row,
                "column": cell.column,
                "measure": cell.measure,
                "role": cell.runs[0].role,
                "runs": [run.id for run in cell.runs],
                "papers": not cell.deviations,
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
    """The teachers of the runs, where the figure shows both."""
    deviations: tuple[str, ...] = ()
    """What differs from the paper's own experiment, except for what the figure varies."""
    position: Mapping[str, Any] = field(default_factory=dict)
    """What else tells the figure where the point is, by name: such as the epoch, or the value of
    the panel's setting. JSON values."""

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
        """The runs of all points, and the teachers that are shown with them."""
        return _each_once(run for point in self.points for run in (*point.teachers, *point.runs))

    @property
    def deviations(self) -> tuple[tuple[str, ...], ...]:
        """Those of each point."""
        return tuple(point.deviations for point in self.points)

    def record(self) -> dict[str, Any]:
        """Return the points."""
        return {"points": [point.record() for point in self.points]}


def _each_once(runs: Iterable[Run]) -> tuple[Run, ...]:
    return tuple({run.id: run for run in runs}.values())
