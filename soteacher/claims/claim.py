"""A claim of the paper, and the parts that several claims share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from soteacher.claims.comparison import Comparison, compared
from soteacher.claims.study_runs import Students, StudyRuns, Teachers
from soteacher.claims.verdicts import Rule, each
from soteacher.study.claims_record import REFERENCE


@dataclass(frozen=True)
class Claim:
    """A claim: on which side of a bound some differences are."""

    name: str
    sentence: str
    """The claim, in the words of this project."""
    where: str
    """Where it is in the paper."""
    side: int
    """1: the difference is above `bound`; -1: it is below."""
    find: Callable[[StudyRuns], list[Comparison]]
    """Returns the comparisons of the paper and of a study."""
    bound: float = 0.0
    rule: Rule = each


def reference(study: StudyRuns, data: str) -> str | None:
    """Return the method that the others are compared with, or None."""
    return next(iter(study.methods(REFERENCE, data)), None)


def in_role(
    study: StudyRuns,
    groups: list[Teachers] | list[Students],
    role: str,
    measure: str,
    primary: str = "",
) -> list[Comparison]:
    """Return the comparisons of all methods of a role with the reference.

    Only the first method counts, and of students only those with the distiller `primary`.
    """
    found = []
    for group in groups:
        standard = reference(study, group.data)
        for place, method in enumerate(study.methods(role, group.data) if standard else ()):
            counted = place == 0 and (isinstance(group, Teachers) or group.distiller == primary)
            found.append(compared(study, group, method, str(standard), measure, counted))
    return [one for one in found if one is not None]


def by_kd(study: StudyRuns, role: str, measure: str) -> list[Comparison]:
    """Return the comparisons of students by knowledge distillation; its first distiller counts."""
    distillers = study.distillers()
    groups = study.student_groups(distillers)
    return in_role(study, groups, role, measure, next(iter(distillers), ""))
