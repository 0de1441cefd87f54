"""Differences between methods as texts, and the one that belongs to a cell of a table."""

from __future__ import annotations

import pandas as pd

from soteacher.report.names import display_name


def printed(comparison: str) -> str:
    """Return the name of a comparison, such as `wrn_40_2/wrn_40_1, kd`, in its printed form."""
    return ", ".join(display_name(part) for part in comparison.split(", "))


def short(unit: str) -> str:
    """Return a unit in the form that the page has room for."""
    return unit.removeprefix("percentage ")


def signed(value: float, unit: str) -> str:
    """Return a difference with its sign, with two decimals in percent and three otherwise."""
    digits = 2 if unit.startswith("percent") else 3
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")  # no minus before a zero


def interval(row: pd.Series, before: str = "") -> str:
    """Return a difference with its 95 % interval, if there is one; empty without a difference.

    before : `paper_` for the paper's own.
    """
    difference, low, high = (row[f"{before}{name}"] for name in ("difference", "low", "high"))
    if pd.isna(difference):
        return ""
    text = signed(difference, row["unit"])
    if pd.notna(low) and pd.notna(high):
        text += f" [{signed(low, row['unit'])}, {signed(high, row['unit'])}]"
    return text


def count(row: pd.Series, name: str = "n") -> str:
    """Return `n = 3`; empty if the number is missing."""
    return "" if pd.isna(row[name]) else f"n = {int(row[name])}"


def probability(p: float) -> str:
    """Return `p = 0.04`; empty if it is missing."""
    if pd.isna(p):
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def difference_of(cell: pd.Series, comparisons: pd.DataFrame | None) -> str:
    """Return the difference between a cell and the reference's, for the cell's details.

    A comparison belongs to the cell if it is of the same measure and role, and if the cell's row
    and column name its method, its pair or network, and its distiller where several are compared.
    The text is empty if no comparison, or more than one, belongs to the cell.
    """
    if comparisons is None or "role" not in cell.index:
        return ""
    words = {*cell["row"].split(), *cell["column"].split()}
    networks = {network for word in words for network in (word, word.partition("/")[0])}
    student = cell["role"] == "student"
    found = comparisons[
        (comparisons["measure"] == cell["measure"])
        & ((comparisons["distiller"] != "") == student)
        & comparisons["method"].isin(words)
        & comparisons["difference"].notna()
    ]
    if student:
        found = found[found["pair"].isin({"", *words})]
    else:
        found = found[found["pair"].str.split("/").str[0].isin({"", *networks})]
    named = found[found["distiller"].isin(words)]
    found = named if len(named) else found
    found = found.drop_duplicates(["method", "reference", "distiller", "difference"])
    if len(found) != 1:
        return ""
    row = found.iloc[0]
    facts = ", ".join(text for text in (count(row), probability(row["p"])) if text)
    text = f"{display_name(row['method'])} − {display_name(row['reference'])}: {interval(row)}"
    return f"{text} {short(row['unit'])}" + (f" ({facts})" if facts else "")
