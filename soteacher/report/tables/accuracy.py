"""The report of tables of kind `accuracy`."""

from soteacher.core.registry import register
from soteacher.report.cells import RunsTable


@register
class AccuracyReport(RunsTable):
    """Test accuracy of teachers and students."""
