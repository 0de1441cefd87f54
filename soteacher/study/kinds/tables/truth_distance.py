"""Distance of predictions to the true label distributions: Eq. (2) of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from soteacher.core.errors import UserError
from soteacher.core.registry import register
from soteacher.study.expansion import Expansion
from soteacher.study.kinds.base import check_counts, teacher_heading
from soteacher.study.kinds.cells import StudentColumnsTable
from soteacher.study.kinds.types import Listed
from soteacher.study.schema import Components

Distance = Literal[
    "teacher.train_distance",
    "teacher.train_distance_l1",
    "teacher.train_distance_scaled",
    "teacher.train_spread",
    "teacher.train_bias",
    "teacher.train_excess_nll",
    "teacher.train_distance_hardest",
    "teacher.train_excess_nll_hardest",
    "teacher.test_distance",
    "teacher.test_distance_l1",
    "teacher.test_distance_scaled",
    "teacher.test_spread",
    "teacher.test_bias",
    "teacher.test_excess_nll",
    "teacher.top1",
    "student.train_distance",
    "student.train_distance_l1",
    "student.train_distance_scaled",
    "student.train_spread",
    "student.train_bias",
    "student.train_excess_nll",
    "student.train_distance_hardest",
    "student.train_excess_nll_hardest",
    "student.test_distance",
    "student.test_distance_l1",
    "student.test_distance_scaled",
    "student.test_spread",
    "student.test_bias",
    "student.test_excess_nll",
    "student.top1",
]


@register
class DistanceTable(StudentColumnsTable):
    """Distance of predictions to the true label distributions, if they are known: Eq. (2)."""

    title: ClassVar = "Distance of predictions to true label distributions; accuracy in percent"
    meaning: ClassVar = (
        "The labels of these data sets are drawn from known distributions, so the quantity in the "
        "paper's Eq. (2) can be measured: the mean over images of the distance (ℓ2 or ℓ1) between "
        "predicted probabilities and the true label distribution. Lower is better. Siblings are "
        "images with the same true distribution (Definition 3.1). The mean of the squared ℓ2 "
        "distance is the sum of spread, around the mean prediction of an image's siblings, and "
        "bias, the squared distance of that mean; the networks of Proposition 3.3 have no spread. "
        "Excess NLL (nats) is the NLL that is expected for drawn labels, minus the entropy of the "
        "true distributions. Scaled: after temperature scaling, for training images with the "
        "geometric mean of the two temperatures that are fitted on test images. Only these "
        "temperatures depend on the labels that were drawn for test images. Hardest tenth: the "
        "tenth of the training images with the lowest largest probability of the true "
        "distribution, where this differs between images."
    )

    columns: Listed[Distance] = (
        "teacher.train_distance",
        "teacher.train_spread",
        "teacher.train_bias",
        "teacher.test_distance",
        "student.test_distance",
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
        if any(column.endswith("_hardest") for column in self.columns):
            check_counts(self.pairs_in(study), study, f"{where}.columns")

    def heading(self, expansion: Expansion, pair: str, role: str) -> str:
        """Return the pair; for teachers only the network, which several pairs can share."""
        return teacher_heading(expansion.study, pair) if role == "teacher" else pair
