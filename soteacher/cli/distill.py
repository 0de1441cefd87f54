"""`soteacher distill`, run by the rule `distill`."""

from __future__ import annotations

from soteacher.cli.training import add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "Train the students of a job; students that are finished in the store are only published."
