"""Base classes of the kinds of tables and figures: settings, checks, and the runs they need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from soteacher.core.errors import UserError, unknown
from soteacher.core.registry import name_of
from soteacher.core.settings import Settings
from soteacher.data.settings import GivenLabels
from soteacher.study.contents import Content
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.types import Listed, Seeds
from soteacher.study.runs import Run
from soteacher.study.schema import Components, networks
from soteacher.study.setting_change import Change


class Block(Settings, ABC):
    """One table or figure. A kind is a subclass, registered under the name of its file."""

    title: ClassVar[str]
    """Title of the table or figure, without a full stop."""
    meaning: ClassVar[str]
    """Meaning of its numbers, in whole sentences."""

    teachers: Listed[str]
    """Teacher methods of the study to show."""

    @property
    def kind(self) -> str:
        """The registered name of the kind."""
        return name_of(self)

    def check(self, study: Components, where: str) -> None:
        """Raise `UserError` if the study lacks something that the block names.

        where : the key of the block, for messages.
        """
        check_known("teacher method", self.teachers, study.teachers, f"{where}.teachers")

    @abstractmethod
    def content(self, expansion: Expansion, name: str) -> Content:
        """Return the content of the block; the runs that it needs are added to the expansion.

        name : the block's name in the study.
        """


@dataclass(frozen=True)
class SeedRuns:
    """Provides the runs of one block, one per seed."""

    expansion: Expansion
    name: str
    """The block's name in the study."""
    seeds: tuple[int, ...]

    def teachers(self, pair: str, method: str, change: Change | None = None) -> tuple[Run, ...]:
        """Return the runs of a pair's teacher, with a changed setting if `change` is given."""
        return tuple(
            self.expansion.teacher(self.name, pair, method, seed, change) for seed in self.seeds
        )

    def alone(self, pair: str) -> tuple[Run, ...]:
        """Return the runs of a pair's student alone."""
        return tuple(self.expansion.alone(self.name, pair, seed) for seed in self.seeds)

    def students(
        self, pair: str, distiller: str, teachers: Iterable[Run], epoch: int | None = None
    ) -> tuple[Run, ...]:
        """Return the student of each teacher, or of the teacher's weights after `epoch`."""
        return tuple(
            self.expansion.student(self.name, pair, distiller, teacher, epoch)
            for teacher in teachers
        )


class RunsBlock(Block):
    """A block that shows runs, one per seed."""

    seeds: Seeds | None = None
    """Seeds of the runs; the default is the seeds of the study."""

    def runs(self, expansion: Expansion, name: str) -> SeedRuns:
        """Return the provider of this block's runs."""
        return SeedRuns(expansion, name, self.seeds or expansion.study.seeds)


class PairBlock(RunsBlock):
    """A block about pairs: teachers, and students distilled from them."""

    pairs: Literal["all"] | Listed[str] = "all"
    """Pairs of the study to show."""
    distillers: Listed[str]
    """Distillers of the study to show."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the distillers and pairs are known."""
        super().check(study, where)
        check_known("distiller", self.distillers, study.distillers, f"{where}.distillers")
        check_known("pair", self.pairs_in(study), study.pairs, f"{where}.pairs")

    def pairs_in(self, study: Components) -> tuple[str, ...]:
        """Return the names of the block's pairs."""
        return tuple(study.pairs) if self.pairs == "all" else self.pairs

    def series(self, method: str, distiller: str) -> str:
        """Return the name of a row or line; it includes the distiller if there are several."""
        return method if len(self.distillers) == 1 else f"{method} {distiller}"


class NetworkBlock(RunsBlock):
    """A block about teachers only."""

    networks: Literal["all"] | Listed[str] = "all"
    """Teacher networks to show, each one a teacher of the study's pairs."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the networks are known."""
        super().check(study, where)
        known = {networks(name, pair)[0] for name, pair in study.pairs.items()}
        chosen = () if self.networks == "all" else self.networks
        check_known("teacher network", chosen, known, f"{where}.networks")

    def pair_of_each(self, study: Components) -> dict[str, str]:
        """Return the heading of each of the block's teachers, to the first pair that has it."""
        pairs: dict[str, str] = {}
        for name, pair in study.pairs.items():
            if self.networks == "all" or networks(name, pair)[0] in self.networks:
                pairs.setdefault(teacher_heading(study, name), name)
        return pairs


def check_known(what: str, names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `UserError`, with the nearest known name, if one of the names is not known."""
    known = tuple(known)
    for name in names:
        if name not in known:
            raise UserError(f"{where}: {unknown(what, name, known)}")


def check_trained(methods: Iterable[str], study: Components, where: str) -> None:
    """Raise `UserError` if a teacher method is an oracle or imported: no training is to show."""
    for method in methods:
        if not study.teachers[method].is_trained:
            what = "is an oracle" if study.teachers[method].oracle else "was trained elsewhere"
            raise UserError(
                f"{where}.teachers: expected methods that are trained; '{method}' {what}, "
                "leave it out"
            )


def check_counts(pairs: Iterable[str], study: Components, where: str) -> None:
    """Raise `UserError` if p* of a pair's data set is not given for each image.

    Otherwise p* is unknown, or all images are equally certain: there is no hardest tenth.
    """
    for name in pairs:
        data = study.pairs[name].data
        if not isinstance(study.data[data].true_labels, GivenLabels):
            raise UserError(
                f"{where}: tenths of disagreement need label counts of each image, and '{data}' "
                "has none; set `true_labels: {counts: FILE}` of it, or leave out the pairs with "
                "this data set"
            )


def teacher_heading(study: Components, pair_name: str) -> str:
    """Return a pair's teacher network, with the data set if the study trains it on several."""
    pair = study.pairs[pair_name]
    network, _ = networks(pair_name, pair)
    trained_on = {p.data for name, p in study.pairs.items() if networks(name, p)[0] == network}
    return network if len(trained_on) == 1 else f"{pair.data} {network}"
