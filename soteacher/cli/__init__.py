"""The command line: one file per command. No torch is imported before a command needs it."""

from soteacher.cli.entry_point import main

__all__ = ["main"]
