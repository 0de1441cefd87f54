"""The numbers in the paper's tables."""

from __future__ import annotations

from importlib import resources

import pandas as pd

RUNS = 3
"""Number of runs behind each mean of the paper (Section 5.1)."""


def paper_values() -> pd.DataFrame:
    """Return all numbers in the paper's Tables 1 to 7, by (table, row, column)."""
    with resources.files(__package__).joinpath("paper_values.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file).set_index(["table", "row", "column"])
