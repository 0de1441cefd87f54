"""Made-up verdicts on claims, in the form of `soteacher claims`."""

from __future__ import annotations

from typing import Any

import pandas as pd

NAN = float("nan")
PAIR = "wrn_40_2/wrn_40_1"
BLANK = {
    "sentence": "Students are better.",
    "paper_where": "Table 1",
    "comparison": PAIR,
    "pair": PAIR,
    "distiller": "kd",
    "method": "soteacher",
    "reference": "standard",
    "measure": "top1",
    "unit": "percentage points",
    **dict.fromkeys(("paper_n", "paper_difference", "paper_low", "paper_high", "paper_p"), NAN),
    "paper_verdict": "not measured",
    **dict.fromkeys(("n", "difference", "low", "high", "p", "smallest", "seeds_needed"), NAN),
    "verdict": "not measured",
    "why": "",
    "paper_why": "",
    "counted": True,
}


def claim(name: str, verdict: str, **others: Any) -> dict[str, Any]:
    """A row of `claims.csv`."""
    return {"claim": name} | BLANK | {"verdict": verdict} | others


def measured(difference: float, low: float, high: float, n: int = 4, p: float = 0.04) -> Any:
    """The numbers of a row."""
    return {"difference": difference, "low": low, "high": high, "n": n, "p": p}


def of_paper(difference: float, low: float, high: float, verdict: str) -> Any:
    """The paper's numbers of a row."""
    numbers = {"paper_difference": difference, "paper_low": low, "paper_high": high}
    return numbers | {"paper_n": 3, "paper_verdict": verdict}


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    """The rows as they are read."""
    return pd.DataFrame(list(rows))
