"""The command line: one file per command. torch is imported only by commands that need it."""

from soteacher.cli.entry_point import main

__all__ = ["main"]
