"""The two files of `soteacher claims`, which the page shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from soteacher.report.csv_files import read_csv

NAMES = ("pair", "distiller", "method", "reference", "measure", "unit")
COMPARED = (*NAMES, "n", "difference", "low", "high", "p")
TEXTS = ("claim", "sentence", "paper_where", "comparison", "verdict", "why")
OF_PAPER = tuple(f"paper_{name}" for name in ("n", "difference", "low", "high", "verdict", "why"))
CLAIMS = (*TEXTS, *OF_PAPER, *COMPARED, "seeds_needed", "counted")
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
        _with_texts(read_csv(comparisons, COMPARED, claims)),
    )


def _with_texts(table: pd.DataFrame) -> pd.DataFrame:
    known = {*TEXTS, *NAMES, "paper_verdict", "paper_why"}
    texts = [name for name in table if name in known]
    return table.astype(dict.fromkeys(texts, object)).fillna(dict.fromkeys(texts, ""))
