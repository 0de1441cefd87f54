"""Made-up runs of a study, as `runs.csv` and the record of the claims have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from soteacher.claims.study_runs import StudyRuns

PAIR = "wrn_10_2/wrn_10_1"
DATA, TEACHER, STUDENT = "digits", "wrn_10_2", "wrn_10_1"
SEEDS = (2, 3, 4, 5)
EPOCHS = (4, 8, 12)
NOISE = (0.004, -0.004, 0.002, -0.002)
"""Deviations of the reference's runs by seed; they cancel in differences of the same seed."""
TERMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}},
    "no_cr": {"lipschitz": {"weight": 1e-4}},
    "no_lr": {"consistency": {}},
    **{name: {name: {}} for name in ("l1", "mixup", "cutmix", "augmix", "crl")},
}
SWEPT = {"0": "no_lr", "1e-05": "soteacher.lipschitz.weight=1e-05", "0.0001": "soteacher"}
SWEPT |= {"0.001": "soteacher.lipschitz.weight=0.001"}
RAMPS = {"linear": "soteacher", "cosine": "soteacher.consistency.ramp=cosine"}
DISTILLERS = {"kd": "kd", "fitnet": "fitnet", "at": "at", "sp": "sp"}
SHARES = ("top1", "agreement")

Value = Callable[[str, str, str, str], float]
"""From role, method, distiller and epoch to what is added to the reference's value."""


def record_of(
    terms: dict[str, dict[str, Any]] | None = None, pair: str = PAIR, papers: Iterable[Any] = ()
) -> dict[str, Any]:
    """The record of a study with one pair."""
    methods = [
        {"data": DATA, "method": name, "role": name, "terms": settings}
        for name, settings in (TERMS if terms is None else terms).items()
    ]
    for name in dict.fromkeys([*SWEPT.values(), *RAMPS.values()]):
        if "." in name:
            methods.append({"data": DATA, "method": name, "role": "swept", "terms": {}})
    sweeps = {"lipschitz.weight": SWEPT, "consistency.ramp": RAMPS}
    return {
        "study": "made",
        "runs": {},
        "pairs": [{"pair": pair, "data": DATA, "teacher": TEACHER, "student": STUDENT}],
        "methods": methods,
        "distillers": [[name, method] for name, method in DISTILLERS.items()],
        "sweeps": [
            {
                "pair": pair,
                "distiller": "kd",
                "setting": setting,
                "values": [{"value": v, "method": m} for v, m in values.items()],
            }
            for setting, values in sweeps.items()
        ],
        "papers": [*papers],
        "timed": {},
    }


def steps_of(more: float, noise: float = 0.0, n: int = 40) -> pd.DataFrame:
    """Times of steps, of which SoTeacher's are longer by a share."""
    rows = []
    for step in range(n):
        disturbed = more + noise * (1 if step % 2 else -1)
        for method, seconds in (("standard", 0.1), ("soteacher", 0.1 * (1 + disturbed))):
            rows.append({"network": TEACHER, "method": method, "step": step, "seconds": seconds})
    return pd.DataFrame(rows)


def study_of(
    added: Callable[[str, str, str, str, str, int], float],
    seeds: Iterable[int] = SEEDS,
    record: dict[str, Any] | None = None,
    steps: pd.DataFrame | None = None,
    lost: Iterable[str] = (),
) -> StudyRuns:
    """A study in which a value of the reference is changed by `added`.

    added : from measure, role, method, distiller, epoch (empty: the last) and the seed's place.
    lost : ids of runs that diverged.
    """
    made = record_of() if record is None else record
    pair = made["pairs"][0]["pair"]
    methods = [one["method"] for one in made["methods"]]
    measures = {"top1": 0.6, "ece": 0.2, "nll": 1.2, "ece_scaled": 0.1, "nll_scaled": 1.0}
    measures |= {"agreement": 0.7, "train_distance": 0.6}
    rows = []
    for place, seed in enumerate(seeds):
        for method in methods:
            runs = [("teacher", "", "")]
            runs += [("student", distiller, "") for distiller in DISTILLERS]
            runs += [("student", "kd", str(epoch)) for epoch in EPOCHS]
            for role, distiller, epoch in runs:
                student = role == "student"
                run = "/".join(filter(None, (method, str(seed), distiller, epoch)))
                row = {
                    "study": "made",
                    "data": DATA,
                    "pair": pair if student else "",
                    "method": method,
                    "distiller": distiller,
                    "seed": str(seed),
                    "role": role,
                    "network": STUDENT if student else TEACHER,
                    "teacher_network": TEACHER if student else "",
                    "teacher_epoch": epoch,
                    "run": run,
                    "spec_sha256": "",
                    "status": "diverged" if run in lost else "done",
                    "classes": "10",
                }
                for measure, value in measures.items():
                    noise = NOISE[place % len(NOISE)] if measure in SHARES else 0.0
                    more = added(measure, role, method, distiller, epoch, place)
                    row[measure] = "" if run in lost else repr(value + noise + more)
                rows.append(row | {"device": "A CPU"})
    no_steps = pd.DataFrame(columns=["network", "method", "step", "seconds"])
    return StudyRuns(pd.DataFrame(rows), made, no_steps if steps is None else steps)
