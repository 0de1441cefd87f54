"""Claims about calibration, the true label distribution, agreement and time: Tables 3 and 4."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from scipy import stats

from soteacher.claims import paper
from soteacher.claims.claim import Claim, by_kd, in_role
from soteacher.claims.comparison import Comparison, with_paper
from soteacher.claims.study_runs import StudyRuns
from soteacher.claims.verdicts import LIGHT
from soteacher.statistics import ALPHA
from soteacher.statistics.paired import Estimate
from soteacher.study.claims_record import REFERENCE

NAN = float("nan")


def calibration_of(measure: str) -> Callable[[StudyRuns], list[Comparison]]:
    """Return the comparisons of SoTeacher's teachers with Standard's in a measure: Table 3."""

    def find(study: StudyRuns) -> list[Comparison]:
        papers = {network: paper.calibration(network, measure) for network in paper.NETWORKS}
        found = in_role(study, study.teacher_groups, "soteacher", measure)
        return with_paper(found, papers, measure)

    return find


def distance_to_truth(study: StudyRuns) -> list[Comparison]:
    """Return the comparisons in the distance to p* on training images, where p* is known.

    The paper estimates it by calibration, because it does not know p*.
    """
    return in_role(study, study.teacher_groups, "soteacher", "train_distance")


def agreement(study: StudyRuns) -> list[Comparison]:
    """Return the comparisons in the agreement of students with their teachers: Table 4."""
    papers = {pair: paper.agreement(pair) for pair in paper.PAIRS}
    return with_paper(by_kd(study, "soteacher", "agreement"), papers, "agreement")


def overhead(study: StudyRuns) -> list[Comparison]:
    """Return the additional time of SoTeacher's steps in percent, of each timed network.

    The estimate is the median over steps of the ratio to the reference's step on the same batch,
    with the interval of a median by order statistics.
    """
    found = []
    steps = study.steps
    for network, of_network in steps.groupby("network", sort=False):
        seconds = of_network.pivot(index="step", columns="method", values="seconds")
        by_role: dict[str, list[str]] = {}
        for method in of_network["method"].unique():
            by_role.setdefault(study.roles.get(method, ""), []).append(method)
        for standard in by_role.get(REFERENCE, [])[:1]:
            for place, method in enumerate(by_role.get("soteacher", [])):
                more = 100 * (seconds[method] / seconds[standard] - 1)
                found.append(
                    Comparison(
                        label=str(network) if place == 0 else f"{network}, {method}",
                        measure="more_time",
                        unit="percent",
                        method=method,
                        reference=standard,
                        timed=median_of(more),
                        counted=place == 0,
                    )
                )
    return found


def median_of(values: pd.Series) -> Estimate:
    """Return the median of values with its 95 % interval; p is of the test against `LIGHT`.

    The ends are NaN if the values are too few for an interval.
    """
    numbers = values.to_numpy()
    test = stats.quantile_test(numbers, q=LIGHT, p=0.5)
    interval = test.confidence_interval(confidence_level=1 - ALPHA)
    low, high, p = float(interval.low), float(interval.high), float(test.pvalue)
    return Estimate(len(values), float(values.median()), NAN, low, high, p, LIGHT)


CLAIMS = (
    *(
        Claim(
            f"lower_{measure}",
            f"SoTeacher's teacher has a lower {name}, on test images{after}.",
            "Table 3, Section 5.2",
            -1,
            calibration_of(measure),
        )
        for measure, name, after in (
            ("ece", "calibration error (ECE)", ""),
            ("nll", "negative log-likelihood (NLL)", ""),
            ("ece_scaled", "calibration error (ECE)", " after temperature scaling"),
            ("nll_scaled", "negative log-likelihood (NLL)", " after temperature scaling"),
        )
    ),
    Claim(
        "nearer_to_truth",
        "SoTeacher's teacher is nearer to the true label distribution of the training images.",
        "Sections 4 and 5.2, which estimate it by calibration",
        -1,
        distance_to_truth,
    ),
    Claim(
        "students_agree",
        "Students of SoTeacher agree with their teacher more often.",
        "Table 4, Section 5.2",
        1,
        agreement,
    ),
    Claim(
        "small_overhead",
        "Training a teacher takes only slightly longer with SoTeacher than with Standard.",
        "Section 5.2, Training overhead: about 5 %",
        -1,
        overhead,
        bound=LIGHT,
    ),
)
