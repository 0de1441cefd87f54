"""The base classes of the kinds of tables and figures: settings, checks, and the runs they need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from soteacher.core.errors import UserError, unknown
from soteacher.core.registry import name_of
from soteacher.core.settings import Settings
from soteacher.study.contents import Content
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.types import Listed, Seeds
from soteacher.study.runs import Run
from soteacher.study.schema import Components, networks
from soteacher.study.setting_change import Change


class Block(Settings, ABC):
    """One table or figure. A kind is a subclass, registered under the name of its file."""

    title: ClassVar[str]
    """What it shows, in one sentence without its full stop."""
    meaning: ClassVar[str]
    """What its numbers mean, in whole sentences."""

    teachers: Listed[str]
    """Teacher methods."""

    @property
    def kind(self) -> str:
        """The registered name of the kind."""
        return name_of(self)

    def check(self, study: Components, where: str) -> None:
        """`UserError` if the study does not have what is asked for; `where` is the block's key."""
        check_known("teacher method", self.teachers, study.teachers, f"{where}.teachers")

    @abstractmethod
    def content(self, expansion: Expansion, name: str) -> Content:
        """Return what the block shows; the runs it needs become part of the expansion.

        name : of the block in the study.
        """


@dataclass(frozen=True)
class SeedRuns:
    """Hands out runs to one block, one per seed of it."""

    expansion: Expansion
    name: str
    """The block's name in the study."""
    seeds: tuple[int, ...]

    def teachers(self, pair: str, method: str, change: Change | None = None) -> tuple[Run, ...]:
        """Return the runs of a pair's teacher, with another value of one setting if given."""
        return tuple(
            self.expansion.teacher(self.name, pair, method, seed, change) for seed in self.seeds
        )

    def students(
        self, pair: str, distiller: str, teachers: Iterable[Run], epoch: int | None = None
    ) -> tuple[Run, ...]:
        """Return the student of each teacher, or of the teacher as it was after an epoch."""
        return tuple(
            self.expansion.student(self.name, pair, distiller, teacher, epoch)
            for teacher in teachers
        )


class RunsBlock(Block):
    """A block on runs, and so on seeds."""

    seeds: Seeds | None = None
    """Where left out, the study's."""

    def runs(self, expansion: Expansion, name: str) -> SeedRuns:
        """Return what hands out this block's runs."""
        return SeedRuns(expansion, name, self.seeds or expansion.study.seeds)


class PairBlock(RunsBlock):
    """A block on pairs: teachers, and students distilled from them."""

    pairs: Literal["all"] | Listed[str] = "all"
    distillers: Listed[str]

    def check(self, study: Components, where: str) -> None:
        """The distillers and pairs must be known, too."""
        super().check(study, where)
        check_known("distiller", self.distillers, study.distillers, f"{where}.distillers")
        check_known("pair", self.pairs_in(study), study.pairs, f"{where}.pairs")

    def pairs_in(self, study: Components) -> tuple[str, ...]:
        """Return the pairs that the block means."""
        return tuple(study.pairs) if self.pairs == "all" else self.pairs

    def series(self, method: str, distiller: str) -> str:
        """Return the name of a row or line: the distiller is told only if there are several."""
        return method if len(self.distillers) == 1 else f"{method} {distiller}"


class NetworkBlock(RunsBlock):
    """A block on teachers alone."""

    networks: Literal["all"] | Listed[str] = "all"
    """Teacher networks of the study's pairs."""

    def check(self, study: Components, where: str) -> None:
        """The networks must be known, too."""
        super().check(study, where)
        known = {networks(name, pair)[0] for name, pair in study.pairs.items()}
        chosen = () if self.networks == "all" else self.networks
        check_known("teacher network", chosen, known, f"{where}.networks")

    def pair_of_each(self, study: Components) -> dict[str, str]:
        """Return the teachers that the block means: heading to the first pair that has it."""
        found: dict[str, str] = {}
        for name, pair in study.pairs.items():
            if self.networks == "all" or networks(name, pair)[0] in self.networks:
                found.setdefault(teacher_heading(study, name), name)
        return found


def check_known(what: str, names: Iterable[str], known: Iterable[str], where: str) -> None:
    """`UserError` with the nearest known name if one of the names is not known."""
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UserError(f"{where}: {unknown(what, name, known)}")


def teacher_heading(study: Components, pair_name: str) -> str:
    """Return a pair's teacher network, with its data set where it is trained on several."""
    pair = study.pairs[pair_name]
    network, _ = networks(pair_name, pair)
    trained_on = {p.data for name, p in study.pairs.items() if networks(name, p)[0] == network}
    return network if len(trained_on) == 1 else f"{pair.data} {network}"
