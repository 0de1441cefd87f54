"""The page docs/benchmarks.md: a function of the CSV files and of `bench/tried.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml

from bench.measure import missed
from bench.rows import AT_MOST, FASTER, LONG, MINUTES, MORE, REST, ROWS, SECONDS, SHARE, WAIT

HERE = Path(__file__).parent
UNITS = {
    FASTER: "Times as fast: the time of the other side / ours. More is better.",
    MORE: "Additional time of a step in %. Less is better.",
    SHARE: "FLOP per second, as a share of the other side's. More is better.",
    SECONDS: "Seconds. Less is better.",
    WAIT: "Seconds. Less is better; the goal is one of wall-clock time.",
    REST: "Share in %: of the CPU time; of the wall-clock time of all cores. Less is better.",
}
OF_PROCESSES = (SECONDS, WAIT, REST)
"""The kinds of rows that time whole processes, whose wall-clock time is not that of one core."""
CONDITIONS = ("date", "machine", "cpu", "busy_cores", "soteacher", "python", "torch", "minutes")
"""What a row is said to be measured under, if it was not measured with the first one."""
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
        n_rows=len(cpu) - sum(row.key in cpu.index for row in LONG),
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
        apart=_apart(cpu),
        missed=[
            _missed(row, operations)
            for _, row in compared(measured, wall).iterrows()
            if missed(row)
        ],
    )


def compared(cpu: pd.DataFrame, wall: pd.DataFrame) -> pd.DataFrame:
    """Return the results that goals are compared with: of CPU time, or wall-clock time for `WAIT`.

    cpu, wall : results by key; `wall` may have more of them.
    """
    by_wall = cpu["unit"] == WAIT
    return pd.concat([cpu[~by_wall], wall.loc[cpu.index[by_wall]]]).loc[cpu.index]


def _apart(cpu: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows that were not measured with the first one, grouped by when they were."""
    facts = cpu[list(CONDITIONS)].fillna("").astype(str)
    others = cpu[(facts != facts.iloc[0]).any(axis=1)]
    return [
        {"rows": list(rows["ours"]), **rows.iloc[0][list(CONDITIONS)]}
        for _, rows in others.groupby(list(CONDITIONS), sort=False, dropna=False)
    ]


def _row(cpu: pd.Series[Any], wall: pd.Series[Any]) -> dict[str, str]:
    unit, other = cpu["unit"], cpu["seconds_other"]
    seconds = f"{cpu['seconds_ours']:.3f}" + ("" if pd.isna(other) else f" / {other:.3f}")
    better = "≤" if unit in AT_MOST else "≥"
    goal = ""
    if not pd.isna(cpu["goal"]):
        is_missed = missed(wall if unit == WAIT else cpu)
        goal = f"{better} {_number(unit, cpu['goal'])}: {'missed' if is_missed else 'reached'}"
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
    middle = f"**{_number(unit, row['median'])}**"
    return middle if row["pairs"] == 1 else f"{middle} ({low} to {high})"


def _number(unit: str, value: float) -> str:
    if unit == REST:
        return f"{value:.0f} %"
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
    steps = cpu[~cpu["unit"].isin(OF_PROCESSES)]
    waited = wall.loc[steps.index, "seconds_ours"] / steps["seconds_ours"]
    if (waited > WAITED).any():
        worst = waited.idxmax()
        signs.append(
            f"in {(waited > WAITED).sum()} of {len(waited)} rows, a step waited for the CPU (its "
            f"wall-clock time was up to {waited[worst]:.1f} times its CPU time)"
        )
    return " and ".join(signs)
