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
    } | {"teacher.top1": "Accuracy (%)", "student.top1": "Student accuracy (%)"}
