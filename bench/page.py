"""The page docs/benchmarks.md: a function of the CSV files and of `bench/tried.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from bench.measure import missed
from bench.rows import FASTER, MINUTES, MORE, ROWS, SECONDS, SHARE

HERE = Path(__file__).parent
UNITS = {
    FASTER: "Times as fast: the time of the other side / ours. More is better.",
    MORE: "Additional time of a step in %. Less is better.",
    SHARE: "FLOP per second, as a share of the other side's. More is better.",
    SECONDS: "Seconds. Less is better.",
}
IDLE = 0.2
"""Number of busy cores before the run above which other programs are said to have run."""
WAITED = 1.1
"""Wall-clock time / CPU time of a step above which the step is said to have waited for the CPU."""


def make_page(results: pd.DataFrame, operations: pd.DataFrame) -> str:
    """Return the page as Markdown."""
    cpu = results[results["clock"] == "cpu"].set_index("key", drop=False)
    wall = results[results["clock"] == "wall"].set_index("key", drop=False)
    measured = cpu[cpu["median"].notna()]
    first = results.iloc[0]
    facts = {name: "" if pd.isna(value) else value for name, value in first.items()}
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.from_string((HERE / "page.md.j2").read_text(encoding="utf-8"))
    return template.render(
        facts=facts,
        minutes=MINUTES,
        n_rows=len(cpu),
        most_rows=len(ROWS),
        disturbed=_disturbed(float(first["busy_cores"]), measured, wall),
        groups=[
            {
                "name": name,
                "unit": UNITS[group["unit"].iloc[0]],
                "rows": [_row(cpu, wall.loc[cpu["key"]]) for _, cpu in group.iterrows()],
            }
            for name, group in measured.groupby("group", sort=False)
        ],
        left_out=[
            {"ours": row["ours"], "reason": row["left_out"]}
            for _, row in cpu[cpu["median"].isna()].iterrows()
        ],
        missed=[_missed(row, operations) for _, row in measured.iterrows() if missed(row)],
    )


def _row(cpu: pd.Series[Any], wall: pd.Series[Any]) -> dict[str, str]:
    unit, other = cpu["unit"], cpu["seconds_other"]
    seconds = f"{cpu['seconds_ours']:.3f}" + ("" if pd.isna(other) else f" / {other:.3f}")
    better = "≤" if unit in (MORE, SECONDS) else "≥"
    goal = ""
    if not pd.isna(cpu["goal"]):
        goal = f"{better} {_number(unit, cpu['goal'])}: {'missed' if missed(cpu) else 'reached'}"
    return {
        "ours": cpu["ours"],
        "other": "" if pd.isna(cpu["other"]) else cpu["other"],
        "cpu": _median(unit, cpu),
        "wall": _median(unit, wall),
        "pairs": str(int(cpu["pairs"])),
        "seconds": seconds,
        "goal": goal,
    }


def _median(unit: str, row: pd.Series[Any]) -> str:
    low, high = (_number(unit, row[name]) for name in ("q1", "q3"))
    return f"**{_number(unit, row['median'])}** ({low} to {high})"


def _number(unit: str, value: float) -> str:
    return f"{value:+.1f} %" if unit == MORE else f"{value:.2f}"


def _missed(row: pd.Series[Any], operations: pd.DataFrame) -> dict[str, Any]:
    tried = yaml.safe_load((HERE / "tried.yaml").read_text(encoding="utf-8"))
    profile = operations[operations["key"] == row["key"]]
    return {
        "title": row["ours"],
        "value": _number(row["unit"], row["median"]),
        "goal": _number(row["unit"], row["goal"]),
        "tried": tried.get(row["key"], []),
        "profile": [
            {"operation": one["operation"], "share": f"{one['share']:.1%}", "calls": one["calls"]}
            for _, one in profile.iterrows()
        ],
    }


def _disturbed(busy: float, cpu: pd.DataFrame, wall: pd.DataFrame) -> str:
    """Return what tells that other programs ran, or "": busy cores before, or steps that waited."""
    signs = [f"they kept {busy:g} cores busy before the run"] if busy > IDLE else []
    steps = cpu[cpu["unit"] != SECONDS]
    waited = wall.loc[steps.index, "seconds_ours"] / steps["seconds_ours"]
    if (waited > WAITED).any():
        worst = waited.idxmax()
        signs.append(
            f"in {(waited > WAITED).sum()} of {len(waited)} rows, a step waited for the CPU (its "
            f"wall-clock time was up to {waited[worst]:.1f} times its CPU time)"
        )
    return " and ".join(signs)
