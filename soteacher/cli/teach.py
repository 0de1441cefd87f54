"""`soteacher teach`, run by the rule `teach`."""

from __future__ import annotations

from soteacher.cli.training import add_arguments, run

__all__ = ["HELP", "add_arguments", "run"]

HELP = "Train the teachers of a job, or publish those that the store has."
