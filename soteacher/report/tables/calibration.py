"""The report of tables of kind `calibration`."""

from typing import ClassVar

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class CalibrationReport(RunsTable):
    """Calibration of teachers."""

    labels: ClassVar = {
        "ece": "ECE",
        "ece_null": "ECE if calibrated",
        "nll": "NLL",
        "ece_scaled": "ECE, scaled",
        "ece_scaled_null": "ECE if calibrated, scaled",
        "nll_scaled": "NLL, scaled",
    }
