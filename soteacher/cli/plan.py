"""`soteacher plan`: check a study, and show what it would train and cost."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soteacher.cli.arguments import add_study, plan_of
from soteacher.cli.format import amount, duration
from soteacher.core.errors import UserError
from soteacher.core.memory import available

if TYPE_CHECKING:
    from soteacher.store.forecast import Forecast
    from soteacher.study.plan import Plan

HELP = "Check a study file and show what it would train and cost."

COUNTS = ("teachers", "students", "only here", "shared", "in store")
HEADINGS = ("", *COUNTS, "arithmetic", "disk", "time")
MANY = 8
"""From this number on, the table does not say how many processes fit on a GPU."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_study(command)
    command.add_argument("--rate", type=float, help="TFLOP/s of one training process")
    command.add_argument(
        "--parallel", type=int, default=1, help="number of training processes at once"
    )
    command.add_argument(
        "--only",
        nargs="+",
        metavar="BLOCK",
        help="names of the tables and figures to plan; the others are not checked",
    )
    command.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="plan every table and figure with N seeds, to see what more seeds cost",
    )
    command.add_argument("--json", action="store_true", help="print the costs as JSON")


def run(options: argparse.Namespace) -> None:
    """Print the costs of the study."""
    from soteacher.store.forecast import Forecast
    from soteacher.study.last_batch import check_last_batches

    if options.parallel < 1 or (options.rate is not None and not 0 < options.rate < math.inf):
        raise UserError(
            f"got --rate {options.rate} and --parallel {options.parallel}: expected a number above "
            "0 for --rate and a whole number above 0 for --parallel"
        )
    rate = None if options.rate is None else options.rate * 1e12
    plan = plan_of(options.study, options.only, options.seeds)
    outlines = {name: data.source.outline() for name, data in plan.study.data.items()}
    check_last_batches(plan.runs.values(), outlines)
    forecast = Forecast(plan, rate, options.parallel)
    facts, left = facts_of(plan, forecast), available()
    sizes = forecast.largest_stored_sizes(left)
    print(json.dumps(facts, indent=1) if options.json else to_text(facts, left, sizes))


def facts_of(plan: Plan, forecast: Forecast) -> dict[str, Any]:
    """Return the forecast of the plan's tables and figures, and the places that it uses.

    `only` names them if the study has others.
    """
    facts = forecast.facts()
    facts["blocks"] = [block for block in facts["blocks"] if block["block"] in plan.contents]
    others = plan.contents.keys() < plan.study.blocks.keys()
    return facts | {"only": [*plan.contents] if others else None, "places": _places(plan)}


def _places(plan: Plan) -> dict[str, Any]:
    """Return the absolute paths of the store, of the images with a `path`, and of method files."""
    from soteacher.core.places import expanded

    study = plan.study
    located = {name: plan.data_location(name).get("path") for name in study.data}
    return {
        "store": str(Path(study.store).absolute()),
        "images": {
            name: str(Path(expanded(path)).absolute()) for name, path in located.items() if path
        },
        "methods": [str(Path(path).absolute()) for path in study.methods],
        "networks": [str(Path(path).absolute()) for path in study.networks],
    }


def to_text(
    facts: dict[str, Any], available: int | None = None, sizes: Mapping[str, int] | None = None
) -> str:
    """Return one line per block, the most expensive first; then sums and the rates' sources.

    available : bytes of memory that a process on this machine can use; None: it is not shown.
    sizes : the largest stored sizes that fit into it (`Forecast.largest_stored_sizes`).
    """
    rows: list[tuple[str, ...]] = [HEADINGS]
    for block in facts["blocks"]:
        shared = block["teachers"] + block["students"] - block["only"]
        rows.append(_row(block["block"], block, str(block["only"]), str(shared)))
    rows.append(_row("all", facts["all"]))
    rows.append(_row("to train", facts["to_train"]))
    which = " and ".join(facts["only"]) if facts["only"] else "each table and figure"
    verb = "need" if facts["only"] and len(facts["only"]) > 1 else "needs"
    lines = [f"Study {facts['study']}, the runs that {which} {verb}:", ""]
    lines += _aligned(rows)
    lines += ["", f"Prepared images need another {amount(facts['data_bytes'], 'B')} of disk."]
    lines.append(f"Store: {facts['places']['store']}")
    lines += [f"Images of {name}: {path}" for name, path in facts["places"]["images"].items()]
    lines += [f"Method file: {path}" for path in facts["places"]["methods"]]
    lines += [f"Network file: {path}" for path in facts["places"]["networks"]]
    lines += _memory(facts, available, sizes or {})
    if facts["timed"]:
        names = ", ".join(facts["timed"])
        lines.append(f"Not counted: {names}, which times a few training steps and trains no run.")
    return "\n".join([*lines, *_gpus(facts), *_rates(facts)])


def _memory(facts: dict[str, Any], available: int | None, sizes: Mapping[str, int]) -> list[str]:
    """Return how much memory the study needs, and what does not fit on this machine."""
    preparing, training = facts["preparing_bytes"], facts["training_bytes"]
    if not preparing:  # a table such as Table 5 needs no data
        return []
    largest = max(preparing, key=lambda name: preparing[name])
    of_training = facts["parallel"] * training
    each = f" ({amount(training, 'B')} each)" if facts["parallel"] > 1 else ""
    line = (
        f"Memory: up to about {amount(preparing[largest], 'B')} to prepare '{largest}', "
        f"{amount(of_training, 'B')} to train{each}"
    )
    if available is None:
        return [f"{line}."]
    lines = [f"{line}; this machine has {amount(available, 'B')} available."]
    needs = [(f"preparing '{name}'", preparing[name]) for name in sorted(preparing)]
    for what, needed in (*needs, ("training", of_training)):
        if needed > available:
            lines.append(
                f"On this machine, {what} does not fit into memory: use smaller or fewer images, "
                "fewer processes at once, or a machine with more memory."
            )
    for name, size in sizes.items():
        lines.append(f"Images of '{name}' that are stored in {size}x{size} pixels would fit.")
    return lines


def _gpus(facts: dict[str, Any]) -> list[str]:
    """Return the modelled hours on GPUs, if no rate is known, and the processes that fit on one."""
    gpu = facts["gpu"]
    if not gpu["memory"]:  # nothing is left to train
        return []
    lines = []
    if facts["to_train"]["seconds"] is None:
        hours: dict[str, list[str]] = {}
        for row in gpu["hours"]:
            cell = f"{_rounded(row['seconds'])} ({_rounded(row['bound'])})"
            hours.setdefault(row["gpu"], [row["gpu"]]).append(cell)
        lines += [
            "",
            "Time on one GPU, by a model, which docs/reproduce.md compares with measured steps:",
            "one training process at a time, and in brackets a bound for several on the GPU.",
            "",
            *_aligned(
                [("", *dict.fromkeys(row["precision"] for row in gpu["hours"])), *hours.values()]
            ),
            "V100: the torch of PyPI does not support it (compute capability below 7.5).",
        ]
    rows = [("", "memory", *(f"{size} GB" for size in gpu["memory"][0]["fit"]))]
    for row in gpu["memory"]:
        fits = (f"{MANY}+" if n >= MANY else str(n) for n in row["fit"].values())
        rows.append((f"{row['role']} {row['network']}", amount(row["bytes"], "B"), *fits))
    text = "GPU memory of a training process in float32, by an estimate, and how many fit on a GPU:"
    return [*lines, "", text, "", *_aligned(rows), ""]


def _rounded(seconds: float) -> str:
    """Return a modelled duration with at most three digits."""
    return duration(seconds) if seconds < 7200 else f"{seconds / 3600:.3g} h"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line per row: the first column begins at the left, the others end at the right."""
    widths = [max(len(text) for text in column) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        padded = [text.rjust(width) for text, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *padded]).rstrip())
    return lines


def _row(name: str, costs: dict[str, Any], only: str = "", shared: str = "") -> tuple[str, ...]:
    seconds = costs["seconds"]
    return (
        name,
        str(costs["teachers"]),
        str(costs["students"]),
        only,
        shared,
        str(costs["in_store"]),
        amount(costs["flop"], "FLOP"),
        amount(costs["bytes"], "B"),
        "?" if seconds is None else duration(seconds),
    )


def _rates(facts: dict[str, Any]) -> list[str]:
    """Return where the times come from, and how to get the missing ones."""
    rates, n = facts["rates"], facts["parallel"]
    processes = "one training process" if n == 1 else f"{n} training processes at once"
    lines = []
    if facts["stated_flop_per_second"]:
        stated = amount(facts["stated_flop_per_second"], "FLOP/s")
        lines.append(f"Time: {processes}, at the given {stated} each.")
    elif rates:
        lines.append(f"Time: {processes}, at rates measured on finished runs:")
        for rate in rates:
            source = f"median of the other {rate['role']}s"
            if rate["passes"]:
                source = f"median of {rate['passes']} measured, on {', '.join(rate['devices'])}"
            speed = amount(rate["flop_per_second"], "FLOP/s")
            lines.append(
                f"  {rate['role']} {rate['network']}, {rate['height']}x{rate['width']}: "
                f"{speed} ({source})"
            )
    known = {rate["role"] for rate in rates}
    needed = {row["role"] for row in facts["gpu"]["memory"]}  # not of untrained ones
    unknown = [role for role in ("teacher", "student") if role in needed and role not in known]
    if unknown:
        lines.append(
            f"The time of {'s and '.join(unknown)}s is unknown, because the store has no finished "
            "one of this precision: train one first, or give the rate of one training process with "
            "--rate TFLOP/s."
        )
    return lines
