"""What tables and figures consist of: cells, and the lines and points of figures."""

from __future__ import annotations

from dataclasses import dataclass

from soteacher.study.runs import Run


@dataclass(frozen=True)
class Cell:
    """One number of a table: the mean of a measure over runs, one a seed."""

    row: str
    column: str
    measure: str
    runs: tuple[Run, ...]
    deviations: tuple[str, ...]
    """What differs from the paper's own experiment; nothing where its number may stand beside."""
    paper_row: str = ""
    """How the paper calls the row, where ours has to say more."""


@dataclass(frozen=True)
class Part:
    """One line, or one point of a line, of a figure: runs, one a seed."""

    panel: str
    series: str
    runs: tuple[Run, ...]
    teachers: tuple[Run, ...] = ()
    """Whose students the runs are, where the figure shows both."""
    epoch: int | None = None
    """Of those teachers, whose weights of this epoch the students learned from."""
    value: str = ""
    """Of the panel's setting, where the figure varies one."""
    own: bool = False
    """Whether it is the value that the method has."""
    deviations: tuple[str, ...] = ()
    """What differs from the paper's own experiment, but for what the figure varies."""


@dataclass(frozen=True)
class TimedNetwork:
    """A teacher network whose methods are timed; none of these runs is trained for that."""

    network: str
    runs: dict[str, Run]
    """By method, the first is what the others are compared with; they differ in loss terms only."""

    @property
    def data(self) -> str:
        """The data set's name in the study."""
        return next(iter(self.runs.values())).data


@dataclass(frozen=True)
class Weight:
    """One number of a table of weights."""

    row: str
    column: str
    weight: float
    paper_row: str
    """The method's registered name."""
