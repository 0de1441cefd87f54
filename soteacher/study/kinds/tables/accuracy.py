"""Test accuracy of teachers and students: Tables 1, 2 and 7 of the paper."""

from __future__ import annotations

from typing import ClassVar, Literal

from soteacher.core.registry import register
from soteacher.study.kinds.cells import StudentColumnsTable
from soteacher.study.kinds.types import Listed

Accuracy = Literal["student.top1", "student.top5", "teacher.top1", "teacher.top5"]


@register
class AccuracyTable(StudentColumnsTable):
    """Test accuracy, one row per teacher method: Tables 1, 2 and 7 of the paper."""

    title: ClassVar = (
        "Test accuracy in percent, of teachers and of the students distilled from them"
    )
    meaning: ClassVar = (
        "The paper claims that a teacher trained for its student (SoTeacher) gives a better "
        "student, even if the teacher's accuracy is not better. Accuracy is of the last epoch."
    )

    columns: Listed[Accuracy] = ("student.top1", "teacher.top1")
    """Columns to show for each pair."""
