"""Claims about a teacher's epochs and about swept settings: Figures 1 and 2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from soteacher.claims.claim import Claim, reference
from soteacher.claims.comparison import Comparison, compared
from soteacher.claims.study_runs import Students, StudyRuns, Teachers, measured, unit
from soteacher.claims.verdicts import MARGIN
from soteacher.study.claims_record import REFERENCE

LAST = "last"
WEIGHT = "lipschitz.weight"
STEP = "percentage points per step"
"""Unit of the trends over a swept weight."""


def after_the_best_epoch(role: str) -> Callable[[StudyRuns], list[Comparison]]:
    """Return what students gain from the teacher's best earlier epoch to its last: Figure 1."""

    def find(study: StudyRuns) -> list[Comparison]:
        found = []
        for group in study.student_groups(name for name, _ in study.record["distillers"]):
            for method in study.methods(role, group.data):
                rows = study.rows(group, method, epochs=True)
                if (rows["teacher_epoch"] != "").any():
                    counted = method == study.methods(role, group.data)[0]
                    label = f"{group.pair}, {group.distiller}"
                    found.append(
                        Comparison(
                            label=label if counted else f"{label}, {method}",
                            measure="top1",
                            unit=unit("top1"),
                            pair=group.pair,
                            distiller=group.distiller,
                            method=method,
                            reference=f"{method}, best earlier epoch",
                            differences=last_against_best(accuracy_by_epoch(rows)),
                            at_least=2,
                            counted=counted,
                        )
                    )
        return found

    return find


def accuracy_by_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the students' accuracy, seed by the teacher's epoch; the last one is `LAST`.

    Seeds that have only the last epoch are left out.
    """
    epochs = rows["teacher_epoch"].replace("", LAST)
    columns = {epoch: measured(rows[epochs == epoch], "top1") for epoch in epochs.unique()}
    table = pd.DataFrame(columns)
    earlier = table.drop(columns=LAST, errors="ignore")
    return table[earlier.notna().any(axis=1)]


def last_against_best(accuracy: pd.DataFrame) -> pd.Series:
    """Return, for each seed, the accuracy at the last epoch minus that at the best earlier epoch.

    The best epoch of a seed is the one with the highest mean over the *other* seeds. The best epoch
    of the seed itself would be chosen by its own noise, and then the last would be worse even if
    all epochs were equal. With one seed there is no difference, and it is NaN.

    accuracy : seed by epoch, with a column `LAST`.
    """
    complete = accuracy.dropna()
    differences = pd.Series(np.nan, index=accuracy.index)
    if LAST in complete and len(complete) > 1:
        for seed in complete.index:
            best = complete.drop(index=seed, columns=LAST).mean().idxmax()
            differences[seed] = complete.loc[seed, LAST] - complete.loc[seed, best]
    return differences


def better_when_swept(*settings: str) -> Callable[[StudyRuns], list[Comparison]]:
    """Return the students of SoTeacher with changed settings against Standard's: Figure 2."""

    def find(study: StudyRuns) -> list[Comparison]:
        found = []
        for sweep, group in _sweeps(study):
            standard = reference(study, group.data)
            if sweep["setting"] not in settings or standard is None:
                continue
            for value in sweep["values"]:
                if value["value"] != "0":  # that is SoTeacher without this regularizer
                    one = compared(study, group, value["method"], standard, "top1")
                    if one is not None:
                        label = f"{group.pair}, {group.distiller}, {sweep['setting']}"
                        found.append(replace(one, label=f"{label} {value['value']}"))
        return found

    return find


def trend_of(who: str) -> Callable[[StudyRuns], list[Comparison]]:
    """Return the trend of accuracy over the Lipschitz weight within each seed: Figure 2(a).

    who : `student` or `teacher`.
    """

    def find(study: StudyRuns) -> list[Comparison]:
        found = []
        for sweep, group in _sweeps(study):
            if sweep["setting"] != WEIGHT:
                continue
            of_teachers = Teachers(group.data, study.pairs[group.pair]["teacher"])
            rows = of_teachers if who == "teacher" else group
            by_weight = {
                float(value["value"]): study.values(rows, value["method"], "top1")
                for value in sweep["values"]
            }
            table = pd.concat(by_weight, axis=1, join="inner")  # the seeds of all weights
            if not table.empty:
                found.append(
                    Comparison(
                        label=f"{group.pair}, {group.distiller}",
                        measure="top1",
                        unit=STEP,
                        pair=group.pair,
                        distiller=group.distiller if who == "student" else "",
                        method=WEIGHT,
                        differences=table.apply(slope, axis=1),
                    )
                )
        return found

    return find


def slope(accuracy: pd.Series) -> float:
    """Return the slope of the least-squares line through values by their rank, from low to high.

    It is the mean change per step of the weight. At least three values must be known.

    accuracy : accuracy by weight, NaN where a run is missing.
    """
    known = accuracy.dropna().sort_index()
    if len(known) < 3:
        return float("nan")
    return float(np.polyfit(np.arange(len(known)), known.to_numpy(), 1)[0])


def _sweeps(study: StudyRuns) -> list[tuple[dict[str, Any], Students]]:
    return [
        (sweep, Students(sweep["pair"], study.pairs[sweep["pair"]]["data"], sweep["distiller"]))
        for sweep in study.record["sweeps"]
    ]


CLAIMS = (
    Claim(
        "longer_standard_hurts",
        "Standard teachers that are trained longer make worse students, after a certain epoch.",
        "Figure 1, Section 1",
        -1,
        after_the_best_epoch(REFERENCE),
    ),
    Claim(
        "longer_soteacher_does_not",
        "Students of SoTeacher do not become worse as it is trained longer.",
        "Figure 1",
        1,
        after_the_best_epoch("soteacher"),
        bound=-MARGIN,
    ),
    Claim(
        "robust_to_weights",
        "SoTeacher improves the student at every weight of both regularizers.",
        "Figure 2, Section 5.2, Effect of Hyperparameters",
        1,
        better_when_swept(WEIGHT, "consistency.weight"),
    ),
    Claim(
        "robust_to_ramps",
        "SoTeacher improves the student with every ramp of the consistency weight.",
        "Figure 2, Section 5.2, Effect of Hyperparameters",
        1,
        better_when_swept("consistency.ramp"),
    ),
    Claim(
        "lipschitz_sweep_teacher",
        "The teacher becomes less accurate as the Lipschitz weight grows.",
        "Figure 2(a), Section 5.2, Effect of Hyperparameters",
        -1,
        trend_of("teacher"),
    ),
    Claim(
        "lipschitz_sweep_student",
        "The student becomes more accurate as the Lipschitz weight grows.",
        "Figure 2(a), Section 5.2, Effect of Hyperparameters",
        1,
        trend_of("student"),
    ),
)
