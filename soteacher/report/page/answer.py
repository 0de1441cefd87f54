"""The first section of the page: which claims of the paper hold here, and forest plots."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from soteacher.report.page.differences import count, interval, printed, probability, short
from soteacher.report.page.forest import forest

HOLDS, FAILS, UNSURE, UNMEASURED = "holds", "does not hold", "cannot tell", "not measured"
SIGNS = {HOLDS: "✓", FAILS: "✗", UNSURE: "?", UNMEASURED: "–"}
"""A sign for each verdict, which says the same as its colour."""
COUNTED = {
    HOLDS: ("holds", "hold"),
    FAILS: ("does not hold", "do not hold"),
    UNSURE: ("cannot be told", "cannot be told"),
    UNMEASURED: ("is not measured", "are not measured"),
}
"""What is said of one claim, and of several."""
OVERALL = "overall"
"""The comparison whose verdict is that of the claim."""
FORESTS = {
    "students_better": "for each pair of networks",
    "almost_every_distiller": "for each further distiller",
}
"""Claims whose comparisons a forest plot shows, to its heading."""


def answer(claims: pd.DataFrame) -> dict[str, Any]:
    """Return what the template shows of the claims.

    claims : the file `claims.csv`, one row per claim and comparison, with `OVERALL` for each claim.
    """
    groups = {str(name): rows for name, rows in claims.groupby("claim", sort=False)}
    shown = [_claim(name, rows) for name, rows in groups.items()]
    plots = {
        heading: forest(groups[name][groups[name]["comparison"] != OVERALL])
        for name, heading in FORESTS.items()
        if name in groups
    }
    return {
        "sentence": _sentence(Counter(claim["verdict"] for claim in shown)),
        "claims": shown,
        "signs": SIGNS,
        "forests": [(heading, plot) for heading, plot in plots.items() if plot],
    }


def _sentence(counts: Counter[str]) -> str:
    """Return how many claims have each verdict, as one sentence."""
    total = counts.total()
    parts = [
        f"{counts[verdict]} {texts[counts[verdict] > 1]}"
        for verdict, texts in COUNTED.items()
        if counts[verdict]
    ]
    text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"Of {total} claim{'' if total == 1 else 's'} of the paper, in this study {text}."


def _claim(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return one claim with its comparisons."""
    overall = rows[rows["comparison"] == OVERALL].iloc[0]
    others = rows[(rows["comparison"] != OVERALL) & rows["counted"].astype(bool)]
    return {
        "id": f"claim-{name}",
        "verdict": overall["verdict"],
        "sentence": overall["sentence"],
        "where": overall["paper_where"],
        "paper_verdict": overall["paper_verdict"] or UNMEASURED,
        "paper": _summed(overall, others, "paper_"),
        "here": _summed(overall, others, ""),
        "why": [text for text in (overall["why"], overall["paper_why"]) if text],
        "comparisons": [_comparison(row) for _, row in rows.iterrows()],
    }


def _summed(overall: pd.Series, others: pd.DataFrame, before: str) -> str:
    """Return the overall difference, its n, and in how many of the comparisons the claim holds.

    others : the comparisons that count for the claim's verdict.
    before : `paper_` for what the paper's own numbers say.
    """
    difference = interval(overall, before)
    facts = [f"{difference} {short(overall['unit'])}"] if difference else []
    verdicts = others[f"{before}verdict"]
    known = verdicts[~verdicts.isin([UNMEASURED, ""])]
    if difference or len(known):
        facts.append(count(overall, f"{before}n"))
    if len(known) > 1:
        facts.append(f"holds in {(known == HOLDS).sum()} of {len(known)}")
    return ", ".join(text for text in facts if text)


def _comparison(row: pd.Series) -> dict[str, Any]:
    """Return one comparison of a claim."""
    return {
        "text": printed(row["comparison"]),
        "unit": short(row["unit"]),
        "paper": interval(row, "paper_"),
        "paper_facts": ", ".join(filter(None, (count(row, "paper_n"), row["paper_verdict"]))),
        "here": interval(row),
        "facts": ", ".join(filter(None, (count(row), probability(row["p"])))),
        "verdict": row["verdict"],
        "seeds": "" if pd.isna(row["seeds_needed"]) else f"{row['seeds_needed']:.0f}",
        "why": row["why"],
    }
