"""The report of tables of kind `distillers`."""

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class DistillerReport(RunsTable):
    """Test accuracy of students by distiller."""
