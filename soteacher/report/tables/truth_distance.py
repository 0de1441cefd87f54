"""The report of tables of kind `truth_distance`."""

from typing import ClassVar

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class DistanceReport(RunsTable):
    """Distance of predictions to true label distributions."""

    labels: ClassVar = {
        "teacher.train_distance": "Train, ℓ2",
        "teacher.train_distance_l1": "Train, ℓ1",
        "teacher.test_distance": "Test, ℓ2",
        "teacher.test_distance_l1": "Test, ℓ1",
        "student.train_distance": "Student, train, ℓ2",
        "student.train_distance_l1": "Student, train, ℓ1",
        "student.test_distance": "Student, test, ℓ2",
        "student.test_distance_l1": "Student, test, ℓ1",
        "student.top1": "Student accuracy (%)",
    }
