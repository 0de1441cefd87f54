"""`soteacher forget`: delete runs; the workflow trains them again."""

from __future__ import annotations

import argparse

from soteacher.cli.arguments import add_store, add_yes
from soteacher.core.files import AGAIN

HELP = "Delete runs, and all runs that depend on them, from the store."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "runs", nargs="+", metavar="RUN", help="id of a run, or the start of its fingerprint"
    )
    add_store(command)
    add_yes(command)


def run(options: argparse.Namespace) -> None:
    """List the runs to delete; with --yes, delete them."""
    from soteacher.cli.listing import confirmed
    from soteacher.store.prune import delete_runs, named, stored, with_dependents

    runs = stored(options.store)
    chosen = [run for name in options.runs for run in named(runs, name)]
    to_delete = with_dependents(chosen, runs)
    if confirmed(to_delete, [], options.yes):
        delete_runs(to_delete)
        print(f"deleted; {AGAIN}")
