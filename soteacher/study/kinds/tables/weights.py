"""The weights of distillers' method losses: Table 5 of the paper."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.study.contents import Content
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import Block, check_known
from soteacher.study.kinds.types import Listed
from soteacher.study.schema import Components


@dataclass(frozen=True)
class Weight:
    """One number of the table."""

    row: str
    column: str
    weight: float
    paper_row: str
    """The distiller's registered name."""
    remark: str
    """A note about the distiller that the reader of the weight needs."""


@dataclass(frozen=True)
class Weights(Content):
    """The content of a table of weights; it has no runs."""

    weights: tuple[Weight, ...]

    def record(self) -> dict[str, Any]:
        """Return the weights."""
        return {"weights": [asdict(weight) for weight in self.weights]}


@register
class WeightTable(Block):
    """The weights of distillers' method losses, one column per teacher method: Table 5.

    It trains no network.
    """

    title: ClassVar = "Weights of distillers' method losses, by teacher method"
    meaning: ClassVar = (
        "The loss of a student is ce * cross-entropy + kd * KL divergence of softened predictions "
        "+ this weight * the distiller's method loss. In the paper, the weight for students of "
        "SoTeacher's teachers is mostly half as large."
    )

    distillers: Listed[str]
    """Distillers of the study to show; each must have one weight as in Table 5."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the distillers are known and have one weight each."""
        super().check(study, where)
        check_known("distiller", self.distillers, study.distillers, f"{where}.distillers")
        for name in self.distillers:
            student = study.distillers[name]
            if len(student.distiller.weights()) != 1:
                raise UserError(
                    f"{where}.distillers: expected distillers with exactly one weight as in "
                    f"Table 5; '{name}' ({student.method}) has "
                    f"{len(student.distiller.weights())}"
                )

    def content(self, expansion: Expansion, name: str) -> Weights:
        """Return one weight per distiller and teacher method."""
        return Weights(tuple(self._weights(expansion.study)))

    def _weights(self, study: Components) -> Iterator[Weight]:
        for name in self.distillers:
            student = study.distillers[name]
            for method in self.teachers:
                chosen = student.distiller.for_teacher(study.teachers[method].table5)
                for setting in chosen.weights():
                    weight = getattr(chosen, setting)
                    yield Weight(name, method, weight, student.method, student.distiller.remark)
