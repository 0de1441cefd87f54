"""Commands for people: how a study's runs stand, what the store holds, and what leaves it."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soteacher.errors import UserError
from soteacher.files import AGAIN, held_by

if TYPE_CHECKING:
    from soteacher.study.plan import Plan
    from soteacher.training.tending import Stored

STORE = Path("results/store")
WATCH_SECONDS = 5.0
CLEAR = "\033[2J\033[H"
"""What empties a terminal's screen."""


def add_commands(command: Callable[[str, Any, str], argparse.ArgumentParser]) -> None:
    """Add these commands with the parser's function (name, what runs it, help)."""
    status = command("status", _status, "Say which runs of a study are done, run, wait, failed.")
    status.add_argument("study", type=Path, nargs="+", help="its file, and what lies over it")
    status.add_argument("--watch", action="store_true", help="again and again, until all is done")
    status.add_argument("--all", action="store_true", help="a line for every run")

    forget = command("forget", _forget, "Delete runs, and all that depend on them, from the store.")
    forget.add_argument("runs", nargs="+", metavar="RUN", help="id, or a fingerprint's beginning")
    forget.add_argument("--store", type=Path, default=STORE)

    store = command("store", None, "List what the store holds, or delete what no study asks for.")
    actions = store.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="a line a run")
    listed.set_defaults(command=_list)
    listed.add_argument("--store", type=Path, default=STORE)
    prune = actions.add_parser("prune", help="delete what none of these studies asks for")
    prune.set_defaults(command=_prune)
    prune.add_argument("studies", nargs="+", type=Path, metavar="STUDY")
    prune.add_argument("--store", type=Path, help="where left out, the studies' own")

    for made in (forget, prune):
        made.add_argument("--yes", action="store_true", help="delete; without it, only list")


def _plan(*study: Path) -> Plan:
    from soteacher.study.plan import expand
    from soteacher.study.reader import load

    return expand(load(*study))


def _status(options: argparse.Namespace) -> None:
    from soteacher.report.status import to_text
    from soteacher.training.status import ENDS, seconds_left, survey

    plan = _plan(*options.study)
    try:
        while True:
            states = survey(plan)
            clear = CLEAR if options.watch and sys.stdout.isatty() else ""
            left = seconds_left(plan, states)
            print(clear + to_text(plan, states, options.all, left), flush=True)
            if not options.watch or all(state.name in ENDS for state in states.values()):
                return
            time.sleep(WATCH_SECONDS)
            print()
    except KeyboardInterrupt:
        print()


def _list(options: argparse.Namespace) -> None:
    from soteacher.report.status import listing
    from soteacher.training.tending import stored

    print(listing(stored(options.store)))


def _forget(options: argparse.Namespace) -> None:
    from soteacher.training.tending import delete_runs, named, stored, with_dependents

    runs = stored(options.store)
    chosen = [run for name in options.runs for run in named(runs, name)]
    going = with_dependents(chosen, runs)
    if _confirmed(going, [], options.yes):
        delete_runs(going)
        print(f"deleted; {AGAIN}")


def _prune(options: argparse.Namespace) -> None:
    from soteacher.training.tending import (
        delete,
        delete_runs,
        linked,
        stored,
        unasked,
        unused_data,
    )

    plans = [_plan(study) for study in options.studies]
    stores = {options.store} if options.store else {Path(plan.study.store) for plan in plans}
    if len(stores) > 1:
        raise UserError(
            f"the studies have different stores, {', '.join(sorted(map(str, stores)))}: "
            "prune each store with its own studies"
        )
    [store] = stores
    runs = stored(store)
    links = linked(plans)
    theirs = (links.get(run.path.name) for run in unasked(runs, plans))
    for study, n in Counter(filter(None, theirs)).items():
        print(
            f"left alone, results/{study} links to them: {n} of the runs that are not asked for; "
            f"name that study's file, too, or delete results/{study}"
        )
    going = {run.path: run for run in unasked(runs, plans, links)}
    for path in list(going):
        if holder := held_by(path):
            print(f"left alone, in use by {holder}: {going.pop(path).id}")
    data = unused_data(store, [run for run in runs if run.path not in going], plans)
    if _confirmed([*going.values()], data, options.yes):
        delete_runs([*going.values()])
        for path in data:
            delete(path)
        print("deleted")


def _confirmed(runs: list[Stored], data: list[Path], yes: bool) -> bool:
    """List what would be deleted; return whether it is to be."""
    from soteacher.report.status import listing, of_data

    print(listing(runs))
    for path in data:
        print(of_data(path))
    if not yes and (runs or data):
        print("nothing was deleted: with --yes all of this is")
    return yes and bool(runs or data)
