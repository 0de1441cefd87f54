"""`soteacher teach`, run by the rule `teach`."""

from __future__ import annotations

from soteacher.cli.training import add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "Train the teachers of a job; teachers that are finished in the store are only published."
