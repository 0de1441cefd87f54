"""Claims about the accuracy of students and teachers: Tables 1 and 2."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from soteacher.claims import paper
from soteacher.claims.claim import Claim, by_kd, in_role
from soteacher.claims.comparison import Comparison, with_paper
from soteacher.claims.study_runs import StudyRuns, unit

ABLATED = {"no_cr": "lipschitz", "no_lr": "consistency"}
"""SoTeacher with one regularizer, to the regularizer that it has."""


def students_of(role: str) -> Callable[[StudyRuns], list[Comparison]]:
    """Return the comparisons of students of a role with Standard's: Tables 1 and 2."""

    def find(study: StudyRuns) -> list[Comparison]:
        papers = {pair: paper.students(pair, role) for pair in paper.PAIRS}
        return with_paper(by_kd(study, role, "top1"), papers, "top1")

    return find


def teachers_of(role: str) -> Callable[[StudyRuns], list[Comparison]]:
    """Return the comparisons of teachers of a role with Standard's: Tables 1 and 2."""

    def find(study: StudyRuns) -> list[Comparison]:
        papers = {network: paper.teachers(network, role) for network in paper.NETWORKS}
        found = in_role(study, study.teacher_groups, role, "top1")
        return with_paper(found, papers, "top1")

    return find


def both_against_one(study: StudyRuns) -> list[Comparison]:
    """Return SoTeacher against each regularizer alone, on average over pairs: Tables 1 and 2.

    A method with one regularizer is compared if it has the settings that SoTeacher has for it. The
    first SoTeacher that can be compared counts, by the first distiller of knowledge distillation.
    """
    found = []
    primary = next(iter(study.distillers()), "")
    for role, kept in ABLATED.items():
        by_method: dict[tuple[str, str], list[pd.Series]] = {}
        others: set[tuple[str, str]] = set()
        for group in study.student_groups([primary]):
            for method in study.methods("soteacher", group.data):
                settings = study.settings(method, group.data)[kept]
                for ablated in study.methods(role, group.data):
                    if study.settings(ablated, group.data)[kept] == settings:
                        both = [study.values(group, name, "top1") for name in (method, ablated)]
                        if not any(values.empty for values in both):
                            differences = both[0] - both[1]
                            by_method.setdefault((method, ablated), []).append(differences)
                            if not study.are_papers(group, method, ablated):
                                others.add((method, ablated))
        papers = paper.mean_of([paper.students(pair, "soteacher", role) for pair in paper.PAIRS])
        rows = [
            Comparison(
                label=f"against {role}" if place == 0 else f"against {ablated}, {method}",
                measure="top1",
                unit=unit("top1"),
                distiller=primary,
                method=method,
                reference=ablated,
                differences=over_pairs(by_pair),
                counted=place == 0,
                papers=(method, ablated) not in others,
            )
            for place, ((method, ablated), by_pair) in enumerate(by_method.items())
        ]
        found += with_paper(rows, {f"against {role}": papers}, "top1")
    return found


def over_pairs(differences: list[pd.Series]) -> pd.Series:
    """Return the mean over pairs of differences by seed, NaN where a run is missing.

    The seeds that all pairs are planned for count: a pair with one seed leaves one to the mean.
    """
    return pd.concat(differences, axis=1, join="inner").mean(axis=1, skipna=False)


CLAIMS = (
    Claim(
        "students_better",
        "Students of SoTeacher are more accurate than students of Standard, for every pair of "
        "networks.",
        "Tables 1 and 2, Section 5.2",
        1,
        students_of("soteacher"),
    ),
    Claim(
        "teacher_less_accurate",
        "SoTeacher's teacher itself is less accurate than Standard's.",
        "Tables 1 and 2, Section 5.2",
        -1,
        teachers_of("soteacher"),
    ),
    Claim(
        "lipschitz_helps",
        "Lipschitz regularization alone (no-CR) improves the student.",
        "Tables 1 and 2, Section 5.2, Ablation Study",
        1,
        students_of("no_cr"),
    ),
    Claim(
        "consistency_helps",
        "Consistency regularization alone (no-LR) improves the student.",
        "Tables 1 and 2, Section 5.2, Ablation Study",
        1,
        students_of("no_lr"),
    ),
    Claim(
        "both_best",
        "On average over pairs, both regularizers together make better students than one alone.",
        "Tables 1 and 2, Section 5.2, Ablation Study",
        1,
        both_against_one,
    ),
    Claim(
        "lipschitz_lowers_teacher",
        "Lipschitz regularization alone makes the teacher less accurate.",
        "Tables 1 and 2, Remark A.5",
        -1,
        teachers_of("no_cr"),
    ),
    Claim(
        "consistency_raises_teacher",
        "Consistency regularization alone makes the teacher more accurate.",
        "Tables 1 and 2; the text does not say it",
        1,
        teachers_of("no_lr"),
    ),
)
