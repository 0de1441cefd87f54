"""`soteacher tables`: the tables of a study that is not finished."""

from __future__ import annotations

import argparse

from soteacher.cli.arguments import add_study, possible_plan_of

HELP = "Print all tables of a study, using the runs that are finished."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_study(command)


def run(options: argparse.Namespace) -> None:
    """Print the tables as Markdown."""
    from soteacher.results.partial_tables import partial_tables

    print(partial_tables(possible_plan_of(options.study)))
