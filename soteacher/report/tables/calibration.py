"""The report of tables of kind `calibration`."""

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class CalibrationReport(RunsTable):
    """Calibration of teachers."""
