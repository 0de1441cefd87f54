"""The report of tables of kind `agreement`."""

from typing import ClassVar

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class AgreementReport(RunsTable):
    """Agreement of students with their teachers."""

    labels: ClassVar = {
        "student.agreement": "Agreement (%)",
        "student.predictive_kl": "Predictive KL",
    }
