"""The two files of `soteacher claims`, which the page shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from soteacher.report.csv_files import read_csv

COMPARED = ("pair", "distiller", "method", "reference", "measure", "n", "difference", "low", "high")
TEXTS = (
    "claim",
    "sentence",
    "paper_where",
    "comparison",
    "unit",
    "paper_verdict",
    "verdict",
    "why",
)
NUMBERS = ("paper_n", "paper_difference", "paper_low", "paper_high", "p", "seeds_needed")
CLAIMS = (*TEXTS, *COMPARED, *NUMBERS)
"""The columns that the page needs."""


@dataclass(frozen=True)
class Verdicts:
    """What is said of the paper's claims."""

    claims: pd.DataFrame
    """One row per claim and comparison."""
    comparisons: pd.DataFrame
    """Every method against the reference, for each pair, distiller and measure."""


def read_verdicts(claims: Path, comparisons: Path) -> Verdicts:
    """Return both files, which must be in the hash list of `claims`.

    A missing text is an empty text; a missing number is NaN.
    """
    return Verdicts(
        _with_texts(read_csv(claims, CLAIMS)),
        _with_texts(read_csv(comparisons, (*COMPARED, "p"), claims)),
    )


def _with_texts(table: pd.DataFrame) -> pd.DataFrame:
    texts = [name for name in (*TEXTS, *COMPARED[:5]) if name in table]
    return table.astype(dict.fromkeys(texts, object)).fillna(dict.fromkeys(texts, ""))
