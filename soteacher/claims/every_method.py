"""Every teacher method against the reference, in every measure: comparisons.csv."""

from __future__ import annotations

from typing import Any

import pandas as pd

from soteacher.claims.claim import reference
from soteacher.claims.comparison import compared
from soteacher.claims.study_runs import FACTS, Students, StudyRuns, Teachers
from soteacher.statistics.paired import Estimate

COLUMNS = (
    *("role", "data", "network", "pair", "distiller", "method", "reference", "measure", "unit"),
    *("mean", "sd", "reference_mean", "reference_sd"),
    *("n", "difference", "sd_of_differences", "low", "high", "p", "smallest", "seeds_needed"),
    *("papers", "method_role"),
)
"""Columns of comparisons.csv; docs/claims.md explains them."""
FIRST, END = "top1", "device"
"""Measures are the columns of runs.csv from the first of these up to the second."""
NOT_COMPARED = ("_low", "_high", "_null")
"""Ends of the names of columns that describe another measure."""


def make_comparisons(study: StudyRuns) -> pd.DataFrame:
    """Return one row per teacher network or pair and distiller, method and measure."""
    groups: list[Teachers | Students] = [
        *study.teacher_groups,
        *study.student_groups(name for name, _ in study.record["distillers"]),
    ]
    rows = [row for group in groups for row in _rows(study, group)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"seeds_needed": "Int64"})


def measures_of(study: StudyRuns) -> list[str]:
    """Return the measures in the table of runs, without ends of intervals and the like."""
    names = list(study.runs.columns)
    end = names.index(END) if END in names else len(names)
    return [
        name
        for name in names[names.index(FIRST) : end]
        if name not in FACTS and not name.endswith(NOT_COMPARED)
    ]


def _rows(study: StudyRuns, group: Teachers | Students) -> list[dict[str, Any]]:
    standard = reference(study, group.data)
    if standard is None or study.rows(group, standard).empty:
        return []
    rows = []
    for method in dict.fromkeys(one["method"] for one in study.record["methods"]):
        if method == standard:
            continue
        for measure in measures_of(study):
            one = compared(study, group, method, standard, measure)
            if one is not None and one.estimate(0).n:
                values, others = (study.values(group, m, measure) for m in (method, standard))
                rows.append(
                    _of_group(study, group)
                    | {"method": method, "reference": standard, "measure": measure}
                    | {"unit": one.unit, "mean": values.mean(), "sd": values.std(ddof=1)}
                    | {"reference_mean": others.mean(), "reference_sd": others.std(ddof=1)}
                    | _of_estimate(one.estimate(0))
                    | {"papers": one.papers, "method_role": study.roles.get(method, "")}
                )
    return rows


def _of_group(study: StudyRuns, group: Teachers | Students) -> dict[str, str]:
    """Return what is compared; the pair of teachers is the first one that has their network."""
    if isinstance(group, Teachers):
        first = next(name for name, pair in study.pairs.items() if _has(pair, group))
        facts = {"role": "teacher", "network": group.network, "pair": first, "distiller": ""}
    else:
        network = study.pairs[group.pair]["student"]
        facts = {"role": "student", "network": network, "pair": group.pair}
        facts["distiller"] = group.distiller
    return facts | {"data": group.data}


def _has(pair: dict[str, str], group: Teachers) -> bool:
    return (pair["data"], pair["teacher"]) == (group.data, group.network)


def _of_estimate(found: Estimate) -> dict[str, Any]:
    return {
        "n": found.n,
        "difference": found.difference,
        "sd_of_differences": found.sd,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "smallest": found.smallest,
        "seeds_needed": found.seeds_needed,
    }
