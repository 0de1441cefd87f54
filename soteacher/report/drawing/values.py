"""The printed form of values of settings on axes."""

from __future__ import annotations

import numpy as np
import pandas as pd


def short_value(value: str) -> str:
    """Return a small number in a short form that fits below an axis, such as 1e-4."""
    if not are_numbers([value]) or not 0 < abs(float(value)) < 0.01:
        return value
    return np.format_float_scientific(float(value), trim="-", exp_digits=1)


def are_numbers(values: list[str]) -> bool:
    """Return whether all values are numbers, so that they can be joined by a line."""
    return bool(pd.to_numeric(pd.Series(values), errors="coerce").notna().all())
