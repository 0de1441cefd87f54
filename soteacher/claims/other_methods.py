"""Claims about other distillers and other regularizers: Tables 6 and 7."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from soteacher.claims import paper
from soteacher.claims.claim import Claim, by_kd, in_role
from soteacher.claims.comparison import Comparison, with_paper
from soteacher.claims.study_runs import StudyRuns
from soteacher.claims.verdicts import MARGIN, almost_every

MIXED = ("mixup", "cutmix", "augmix")
"""Regularizers that mix training images."""


def by_every_distiller(study: StudyRuns) -> list[Comparison]:
    """Return the students of SoTeacher and Standard by the other distillers: Table 6."""
    found = []
    for distiller in study.distillers(kd=False):
        groups = study.student_groups([distiller])
        for one in in_role(study, groups, "soteacher", "top1", distiller):
            label = f"{one.pair}, {one.distiller}" if one.counted else one.label
            found.append(replace(one, label=label))
    papers = {
        f"{pair}, {name}": paper.distiller(pair, name)
        for pair, table in paper.PAIRS.items()
        if table == "table1"
        for name in paper.distillers()
    }
    return with_paper(found, papers, "top1")


def regularized(*names: str, of_teachers: bool = False) -> Callable[[StudyRuns], list[Comparison]]:
    """Return the comparisons of known regularizers with Standard: Table 7."""
    who = "teacher" if of_teachers else "student"

    def find(study: StudyRuns) -> list[Comparison]:
        found = []
        for name in names:
            rows = (
                in_role(study, study.teacher_groups, name, "top1")
                if of_teachers
                else by_kd(study, name, "top1")
            )
            found += [replace(one, label=f"{one.label}, {name}") for one in rows]
        place = "wrn_40_2" if of_teachers else paper.TABLE7
        papers = {f"{place}, {name}": paper.regularizer(name, who) for name in names}
        return with_paper(found, papers, "top1")

    return find


CLAIMS = (
    Claim(
        "almost_every_distiller",
        "SoTeacher improves the student with almost every distiller.",
        "Table 6, Section 5.2",
        1,
        by_every_distiller,
        rule=almost_every,
    ),
    Claim(
        "crl_helps",
        "Of known regularizers, CRL makes slightly better students than Standard.",
        "Table 7, Section 6, Appendix F",
        1,
        regularized("crl"),
    ),
    Claim(
        "others_do_not_help",
        "No other known regularizer (l1, Mixup, CutMix, AugMix) improves the student.",
        "Table 7, Section 6, Appendix F",
        -1,
        regularized("l1", *MIXED),
        bound=MARGIN,
    ),
    Claim(
        "mixing_raises_teacher",
        "Mixup, CutMix and AugMix make the teacher more accurate.",
        "Table 7, Appendix F",
        1,
        regularized(*MIXED, of_teachers=True),
    ),
)
