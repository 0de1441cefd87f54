"""The report of tables of kind `accuracy`."""

from typing import ClassVar

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class AccuracyReport(RunsTable):
    """Test accuracy of teachers and students."""

    labels: ClassVar = {
        "student.top1": "Student accuracy (%)",
        "teacher.top1": "Teacher accuracy (%)",
        "student.top5": "Student Top-5 accuracy (%)",
        "teacher.top5": "Teacher Top-5 accuracy (%)",
    }
