"""The report of tables of kind `calibration`."""

from typing import ClassVar

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class CalibrationReport(RunsTable):
    """Calibration of teachers."""

    labels: ClassVar = {
        "ece": "ECE",
        "nll": "NLL",
        "ece_scaled": "ECE, scaled",
        "nll_scaled": "NLL, scaled",
    }
