"""The report of tables of kind `truth_distance`."""

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class DistanceReport(RunsTable):
    """Distance of predictions to true label distributions."""
