"""`soteacher store list` and `store prune`: what the store holds, and what no study needs."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from soteacher.cli.arguments import add_store, add_yes, plan_of
from soteacher.core.errors import UserError
from soteacher.core.files import held_by

HELP = "List the runs of the store, or delete those that no study asks for."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the two actions and their arguments."""
    actions = command.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="print one line per run")
    listed.set_defaults(run=run_list)
    add_store(listed)
    prune = actions.add_parser("prune", help="delete what none of these studies asks for")
    prune.set_defaults(run=run_prune)
    prune.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    prune.add_argument("--store", type=Path, help="default: the store that the studies name")
    add_yes(prune)


def run_list(options: argparse.Namespace) -> None:
    """Print what the store holds."""
    from soteacher.cli.listing import listing
    from soteacher.store.prune import stored

    print(listing(stored(options.store)))


def run_prune(options: argparse.Namespace) -> None:
    """List what no study asks for; with --yes, delete it."""
    from soteacher.cli.listing import confirmed
    from soteacher.store.prune import delete, delete_runs, linked, stored, unasked, unused_data

    plans = [plan_of([study]) for study in options.studies]
    stores = {options.store} if options.store else {Path(plan.study.store) for plan in plans}
    if len(stores) > 1:
        raise UserError(
            f"the studies have different stores, {', '.join(sorted(map(str, stores)))}: "
            "prune each store with the studies that use it"
        )
    [store] = stores
    runs = stored(store)
    links = linked(plans)
    linked_from = (links.get(run.path.name) for run in unasked(runs, plans))
    for study, n in Counter(filter(None, linked_from)).items():
        print(
            f"left alone, results/{study} links to them: {n} of the runs that are not asked for; "
            f"name that study's file, too, or delete results/{study}"
        )
    missing = {run.path.name: run.methods_missing[0] for run in runs if run.methods_missing}
    for run in unasked(runs, plans, links):
        if name := missing.get(run.path.name):
            print(
                f"left alone, its method '{name}' is not at hand: {run.id}; name a study that "
                f"lists the method's file, or delete the run with `soteacher forget "
                f"{run.path.name[:12]} --store {store} --yes`"
            )
    going = {run.path: run for run in unasked(runs, plans, [*links, *missing])}
    for path in list(going):
        if holder := held_by(path):
            print(f"left alone, in use by {holder}: {going.pop(path).id}")
    data = unused_data(store, [run for run in runs if run.path not in going], plans)
    if confirmed([*going.values()], data, options.yes):
        delete_runs([*going.values()])
        for path in data:
            delete(path)
        print("deleted")
