"""How well students match their teachers: Table 4 of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from soteacher.core.registry import register
from soteacher.study.kinds.cells import ColumnsTable
from soteacher.study.kinds.types import Listed

Fidelity = Literal["student.agreement", "student.predictive_kl"]


@register
class AgreementTable(ColumnsTable):
    """How well students match their teachers on test images: Table 4."""

    title: ClassVar = "Agreement of students with their teachers on test images"
    meaning: ClassVar = (
        "Agreement is the percentage of test images for which student and teacher predict the same "
        "class. A higher agreement means that the teacher is easier to imitate."
    )

    columns: Listed[Fidelity] = ("student.agreement",)
    """Columns to show for each pair."""
