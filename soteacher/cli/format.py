"""Numbers in a form that is easy to read."""

from __future__ import annotations

PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def amount(value: float, unit: str) -> str:
    """Return a value with three digits and a decimal prefix: 1,234,567 B is `1.23 MB`."""
    power = 0
    while value >= 999.5 and power + 1 < len(PREFIXES):
        value, power = value / 1000, power + 1
    return f"{value:.3g} {PREFIXES[power]}{unit}"


def duration(seconds: float) -> str:
    """Return a duration as text: seconds below two minutes, minutes below two hours, else hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"
