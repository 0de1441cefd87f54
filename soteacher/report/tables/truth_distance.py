"""The report of tables of kind `truth_distance`."""

from typing import ClassVar

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable

PLACES = {
    "teacher.train": "Train",
    "teacher.test": "Test",
    "student.train": "Student, train",
    "student.test": "Student, test",
}
MEASURES = {
    "distance": "ℓ2",
    "distance_l1": "ℓ1",
    "distance_scaled": "ℓ2, scaled",
    "spread": "spread",
    "bias": "bias",
    "excess_nll": "excess NLL",
}


@register
class DistanceReport(RunsTable):
    """Distance of predictions to true label distributions."""

    labels: ClassVar = {
        f"{place}_{name}": f"{printed_place}, {printed}"
        for place, printed_place in PLACES.items()
        for name, printed in MEASURES.items()
    } | {
        "teacher.train_distance_hardest": "Train, ℓ2, hardest tenth",
        "teacher.train_excess_nll_hardest": "Train, excess NLL, hardest tenth",
        "student.train_distance_hardest": "Student, train, ℓ2, hardest tenth",
        "student.train_excess_nll_hardest": "Student, train, excess NLL, hardest tenth",
        "teacher.top1": "Accuracy (%)",
        "student.top1": "Student accuracy (%)",
    }
