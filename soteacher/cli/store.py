"""`soteacher store list` and `soteacher store prune`: list the runs, delete unneeded ones."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from soteacher.cli.arguments import add_store, add_yes, plan_of
from soteacher.core.errors import UserError
from soteacher.core.files import held_by

HELP = "List the runs of the store, or delete those that no study needs."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the two actions and their arguments."""
    actions = command.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="print one line per run")
    listed.set_defaults(run=run_list)
    add_store(listed)
    prune = actions.add_parser("prune", help="delete the runs that none of these studies needs")
    prune.set_defaults(run=run_prune)
    prune.add_argument("studies", nargs="+", type=Path, metavar="STUDY", help="study files")
    prune.add_argument(
        "--store", type=Path, help="folder of the trained runs (default: the studies' `store`)"
    )
    add_yes(prune)


def run_list(options: argparse.Namespace) -> None:
    """Print the runs of the store."""
    from soteacher.cli.listing import listing
    from soteacher.store.prune import stored

    print(listing(stored(options.store)))


def run_prune(options: argparse.Namespace) -> None:
    """List the runs and data that no study needs; with --yes, delete them."""
    from soteacher.cli.listing import confirmed
    from soteacher.store.prune import (
        delete,
        delete_runs,
        linked,
        stored,
        unneeded_runs,
        unused_data,
    )

    plans = [plan_of([study]) for study in options.studies]
    stores = {options.store} if options.store else {Path(plan.study.store) for plan in plans}
    if len(stores) > 1:
        raise UserError(
            f"the studies have different stores ({', '.join(sorted(map(str, stores)))}); expected "
            "one store: prune each store with the studies that use it"
        )
    [store] = stores
    runs = stored(store)
    links = linked(plans)
    linked_from = (links.get(run.path.name) for run in unneeded_runs(runs, plans))
    for study, n in Counter(filter(None, linked_from)).items():
        print(
            f"unneeded runs kept, because results/{study} links to them: {n}; to delete them, also "
            f"give that study's file, or delete results/{study}"
        )
    missing = {run.path.name: run.methods_missing[0] for run in runs if run.methods_missing}
    for run in unneeded_runs(runs, plans, links):
        if name := missing.get(run.path.name):
            print(
                f"kept {run.id}, because its method '{name}' is not available; name a study that "
                "lists the method's file, or delete the run with `soteacher forget "
                f"{run.path.name[:12]} --store {store} --yes`"
            )
    for run in runs:
        if run.unidentified:
            print(
                f"kept {run.path}, because its description is damaged or cannot be read, and all "
                "teachers, preparations and data, because it may need them; to delete it, "
                f"`soteacher forget {run.path.name[:12]} --store {store} --yes`"
            )
    kept = [*links, *missing]
    to_delete = {run.path: run for run in unneeded_runs(runs, plans, kept)}
    for path in list(to_delete):
        if holder := held_by(path):
            print(f"kept {to_delete.pop(path).id}, because it is in use by {holder}")
    data = unused_data(store, [run for run in runs if run.path not in to_delete], plans)
    if confirmed([*to_delete.values()], data, options.yes):
        delete_runs([*to_delete.values()])
        for path in data:
            delete(path)
        print("deleted")
