"""Distance of predictions to the true label distributions: Eq. (2) of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import teacher_heading
from soteacher.study.kinds.cells import StudentColumnsTable
from soteacher.study.kinds.types import Listed
from soteacher.study.schema import Components

Distance = Literal[
    "teacher.train_distance",
    "teacher.train_distance_l1",
    "teacher.test_distance",
    "teacher.test_distance_l1",
    "student.train_distance",
    "student.train_distance_l1",
    "student.test_distance",
    "student.test_distance_l1",
    "student.top1",
]


@register
class DistanceTable(StudentColumnsTable):
    """Distance of predictions to the true label distributions, if they are known: Eq. (2)."""

    title: ClassVar = "Distance of predictions to true label distributions; accuracy in percent"
    meaning: ClassVar = (
        "The labels of these data sets are drawn from known distributions, so the quantity in the "
        "paper's Eq. (2) can be measured: the mean over images of the distance (ℓ2 or ℓ1) between "
        "predicted probabilities and the true label distribution. Lower is better."
    )

    columns: Listed[Distance] = (
        "teacher.train_distance",
        "teacher.test_distance",
        "teacher.train_distance_l1",
        "teacher.test_distance_l1",
        "student.top1",
    )
    """Columns to show for each pair."""

    def check(self, study: Components, where: str) -> None:
        """Also check that the true label distributions of the pairs' data sets are known."""
        super().check(study, where)
        for name in self.pairs_in(study):
            data = study.pairs[name].data
            if study.data[data].true_labels is None:
                raise UserError(
                    f"{where}: the true label distributions of '{data}' are not known; set its "
                    "`true_labels`, or leave out the pairs with this data set"
                )

    def heading(self, expansion: Expansion, pair: str, role: str) -> str:
        """Return the pair; for teachers only the network, which several pairs can share."""
        return teacher_heading(expansion.study, pair) if role == "teacher" else pair
