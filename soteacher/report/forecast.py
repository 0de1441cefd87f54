"""What a plan will cost, as a person reads it."""

from __future__ import annotations

from typing import Any

COUNTS = ("teachers", "students", "only here", "shared", "in store")
HEADINGS = ("", *COUNTS, "arithmetic", "disk", "time")
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def to_text(facts: dict[str, Any]) -> str:
    """A line a block, the most expensive first, then sums, and where the times come from."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for block in facts["blocks"]:
        shared = block["teachers"] + block["students"] - block["only"]
        rows.append(_row(block["block"], block, str(block["only"]), str(shared)))
    rows.append(_row("all", facts["all"]))
    rows.append(_row("to train", facts["to_train"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = [f"Study {facts['study']}, by what its tables and figures ask for:", ""]
    for name, *numbers in rows:
        cells = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]).rstrip())
    lines += ["", f"Prepared images take another {amount(facts['data_bytes'], 'B')}."]
    if facts["clocked"]:
        names = ", ".join(facts["clocked"])
        lines.append(f"Not counted: {names}, which times a few training steps and trains no run.")
    return "\n".join([*lines, *_rates(facts)])


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
    """Where the times come from, and how to get those that nobody can tell yet."""
    rates, n = facts["rates"], facts["parallel"]
    processes = "one training process" if n == 1 else f"{n} training processes at once"
    lines = []
    if facts["stated_flop_per_second"]:
        stated = amount(facts["stated_flop_per_second"], "FLOP/s")
        lines.append(f"Time: {processes}, at the stated {stated} each.")
    elif rates:
        lines.append(f"Time: {processes}, at rates measured on finished runs:")
        for rate in rates:
            source = f"as other {rate['role']}s"
            if rate["passes"]:
                source = f"median of {rate['passes']} measured, on {', '.join(rate['devices'])}"
            reached = amount(rate["flop_per_second"], "FLOP/s")
            lines.append(
                f"  {rate['role']} {rate['network']}, {rate['height']}x{rate['width']}: "
                f"{reached} ({source})"
            )
    known = {rate["role"] for rate in rates}
    unknown = [r for r in ("teacher", "student") if facts["all"][f"{r}s"] and r not in known]
    if unknown:
        lines.append(
            f"No finished run tells how long {'s and '.join(unknown)}s take: train one first, or "
            "state what one training process sustains with --rate TFLOP/s."
        )
    return lines


def amount(value: float, unit: str) -> str:
    """Three digits and a decimal prefix: 1,234,567 B are `1.23 MB`."""
    power = 0
    while value >= 999.5 and power + 1 < len(PREFIXES):
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}{unit}"


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, then hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
