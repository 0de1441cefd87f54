"""Measure the rows; the results are data frames, which are written as CSV."""

from __future__ import annotations

import gc
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.profiler import ProfilerActivity, profile

from bench import machine
from bench.ours import OurPass
from bench.rows import AT_MOST, FASTER, MORE, REST, SHARE, Bench, Measured, Row
from bench.study import BenchStudy
from bench.timing import Deadline, LeftOut, Pair
from soteacher.core.errors import UserError

log = logging.getLogger("bench")

CLOCKS = ("cpu", "wall")
OPERATIONS = 8
"""Number of operations of a profile that are kept: those with the most CPU time."""


def measure(
    rows: Sequence[Row], minutes: float, over: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure rows, each for its share of the time, and of what earlier rows have left.

    over : values that replace those of the study, for a smaller bench.

    Returns
    -------
    tuple of two data frames
        One row per row and clock, with the medians and quartiles of the pairs; and the operations
        of the steps that missed their goals, with their share of the step's CPU time.
    """
    facts = {**machine.facts(), "minutes": minutes}
    results: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="soteacher-bench-") as folder:
        bench = Bench(Path(folder), BenchStudy(Path(folder) / "store", over))
        end = time.perf_counter() + 60 * minutes
        for number, row in enumerate(rows):
            began = time.perf_counter()
            # rows that are left out leave their time to the rows after them
            part = row.weight / sum(other.weight for other in rows[number:])
            found = _measured(row, bench, Deadline.after(part * max(0.0, end - began)))
            results += [_head(row) | values | facts for values in found[0]]
            if found[1] is not None and missed(pd.Series(results[-2])):
                operations += [{"key": row.key} | one for one in profiled(found[1])]
            del found
            gc.collect()  # the networks of a row are freed before those of the next are built
            log.info("%s: %.0f s", row.key, time.perf_counter() - began)
    columns = ["key", "operation", "share", "calls"]
    return pd.DataFrame(results), pd.DataFrame(operations, columns=columns)


def _measured(
    row: Row, bench: Bench, deadline: Deadline
) -> tuple[list[dict[str, Any]], OurPass | None]:
    """Return the values of both clocks, and the pass that can be profiled."""
    try:
        measured = row.measure(bench, deadline)
    except (LeftOut, UserError) as reason:
        log.info("%s is left out: %s", row.key, reason)
        nothing = {"median": None, "left_out": str(reason)}
        return [{"clock": clock} | nothing for clock in CLOCKS], None
    return [summary(row, measured, clock) for clock in CLOCKS], measured.profiled


def _head(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "group": row.group,
        "ours": row.ours,
        "other": row.other,
        "unit": row.unit,
        "goal": row.goal,
    }


def summary(row: Row, measured: Measured, clock: str) -> dict[str, Any]:
    """Return median and quartiles of a row by one clock, and the median seconds of both sides."""
    values = [_value(row.unit, pair, measured.flop, clock) for pair in measured.pairs]
    low, middle, high = np.percentile(values, (25, 50, 75))
    seconds = [[getattr(side, clock) for side in pair] for pair in measured.pairs]
    ours, other = np.median(seconds, axis=0)
    found = {
        "clock": clock,
        "median": round(middle, 4),
        "q1": round(low, 4),
        "q3": round(high, 4),
        "pairs": len(values),
        "seconds_ours": round(ours, 5),
        "left_out": "",
    }
    if row.other or row.unit == REST:
        found["seconds_other"] = round(other, 5)
    return found | ({"other": f"{row.other}: {measured.other}"} if measured.other else {})


def _value(unit: str, pair: Pair, flop: tuple[int, int], clock: str) -> float:
    ours, other = getattr(pair.ours, clock), getattr(pair.other, clock)
    if unit == FASTER:
        return other / ours
    if unit == MORE:
        return 100 * (ours / other - 1)
    if unit == SHARE:
        return (flop[0] / ours) / (flop[1] / other)
    if unit == REST:
        return 100 * (1 - ours / other)
    return ours


def missed(result: pd.Series[Any]) -> bool:
    """Return whether a result has a goal and is worse; `page.compared` says by which clock."""
    if pd.isna(result["goal"]) or pd.isna(result["median"]):
        return False
    if result["unit"] in AT_MOST:
        return bool(result["median"] > result["goal"])
    return bool(result["median"] < result["goal"])


def together(old: pd.DataFrame, new: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return the rows of `new`, and those of `old` with other keys, in the order of their keys.

    Keys that `order` lacks are left out: they are of rows that no longer exist.
    """
    parts = [part for part in (old[~old["key"].isin(new["key"])], new) if len(part)]
    rows = pd.concat(parts, ignore_index=True) if parts else new
    rows = rows[rows["key"].isin(order)]
    return rows.sort_values("key", key=lambda keys: keys.map(order.index), kind="stable")


def profiled(ours: OurPass) -> list[dict[str, Any]]:
    """Return the operations of one step with the most CPU time, and their share of it."""
    ours.enter()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        ours.steps(1)
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [
        {
            "operation": event.key,
            "share": round(event.self_cpu_time_total / total, 4),
            "calls": event.count,
        }
        for event in events[:OPERATIONS]
    ]
