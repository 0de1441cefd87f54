"""The pages of evidence: their tables are those of runs.csv, and their studies can be planned."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from scipy import stats

from soteacher.study.expand import expand
from soteacher.study.load import load

NAMES = {
    "standard": "Standard",
    "soteacher": "SoTeacher",
    "no_lr": "no-LR",
    "no_cr": "no-CR",
    "label_smoothing": "label smoothing",
    "crl": "CRL",
    "mse": "MSE",
    "early_stopped": "early-stopped",
    "cross_fitted": "cross-fitted",
    "oracle": "oracle",
    "alone": "a student alone",
}
"""Method to its name on a page; other methods have their own name, as code."""
HARDEST = ("train_distance_hardest", "train_excess_nll_hardest")
SPREAD = ("train_distance", "train_spread")
TABLES = {
    ("human_labels", "plain"): ("train_distance", *HARDEST, "student train_excess_nll_hardest"),
    ("human_labels", "augmented"): ("train_distance", *HARDEST, "student train_excess_nll_hardest"),
    ("cifar20", "clean"): ("ece", "nll"),
    ("cifar20", "confused"): (*SPREAD, "test_distance", "student test_distance"),
    ("mechanism", "digits"): (*SPREAD, "test_distance", "ece", "student test_distance"),
}
"""Study and data set to the measures after the two accuracies; the teacher's unless they say so."""
DISTILLER = "pure"


@pytest.fixture(scope="module")
def evidence(root):
    return root / "docs/evidence"


def runs_of(evidence, study: str) -> pd.DataFrame:
    return pd.read_csv(evidence / study / "runs.csv")


def cell(values: pd.Series, measure: str) -> str:
    scale, digits = (100, 2) if measure == "top1" else (1, 3)
    values = values.dropna() * scale
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}" if len(values) else "–"


def rows(runs: pd.DataFrame, data: str, measures: tuple[str, ...]) -> list[str]:
    """The rows of a page's table, computed from runs.csv."""
    known = runs[runs["data"] == data]
    teachers = known[known["role"] == "teacher"]
    students = known[(known["distiller"] == DISTILLER) & known["teacher_epoch"].isna()]
    found = []
    for method in sorted(set(teachers["method"]), key=_order):
        of = {
            "": teachers[teachers["method"] == method],
            "student": students[students["method"] == method],
        }
        if method == "alone":  # it is a student, though no teacher is involved
            of = {"": of["student"], "student": of[""]}
        cells = [cell(of[""]["top1"], "top1"), cell(of["student"]["top1"], "top1")]
        for measure in measures:
            role, _, name = measure.rpartition(" ")
            cells.append(cell(of[role][name], name))
        found.append(f"| {NAMES.get(method, f'`{method}`')} | {' | '.join(cells)} |")
    return found


def _order(method: str) -> tuple[int, str]:
    first = ["standard", "soteacher", "cr_2", "cr_5", "cr_10", "strong", "no_lr", "no_cr"]
    last = ["oracle", "alone"]
    if method in first:
        return first.index(method), ""
    return (99 + last.index(method), "") if method in last else (50, method)


@pytest.mark.parametrize(("study", "data"), list(TABLES))
def test_tables_of_a_page_are_those_of_its_runs(evidence, study, data):
    page = (evidence / f"{study}.md").read_text(encoding="utf-8")
    section = page.partition(f"<!-- table: accuracy, {data} -->")[2]
    lines = [line for line in section.partition("\n\n")[2].splitlines()]
    shown = lines[2 : next(k for k, line in enumerate(lines) if not line.startswith("|"))]
    assert shown == rows(runs_of(evidence, study), data, TABLES[study, data])


@pytest.mark.parametrize("study", sorted({study for study, _ in TABLES}))
def test_stated_differences_are_paired_by_seed_and_have_a_t_interval(evidence, study):
    """comparisons.csv, whose differences the page states, computed again by hand."""
    runs = runs_of(evidence, study)
    table = pd.read_csv(evidence / study / "comparisons.csv")
    table = table[(table["role"] == "student") & (table["measure"] == "top1")]
    assert len(table) >= 8
    for _, row in table.iterrows():
        of = runs[(runs["role"] == "student") & (runs["pair"] == row["pair"])]
        of = of[(of["distiller"] == row["distiller"]) & of["teacher_epoch"].isna()]
        wide = of.pivot(index="seed", columns="method", values="top1") * 100
        difference = (wide[row["method"]] - wide[row["reference"]]).dropna()
        assert len(difference) == row["n"]
        half = stats.t.ppf(0.975, row["n"] - 1) * difference.sem()
        assert row["difference"] == pytest.approx(difference.mean())
        assert row["high"] - row["difference"] == pytest.approx(half)


STUDIES = ["mechanism", "human_labels", "cifar20"]
STATED = re.compile(r"(-?\d+\.\d+)[^()|\d]{0,24} \((-?\d+\.\d+) to (-?\d+\.\d+)")


def known_differences(evidence, studies):
    """Every difference with its interval, in each rounding, and turned around."""
    for study in studies:
        for file in ("comparisons.csv", "claims.csv"):
            table = pd.read_csv(evidence / study / file)
            for row in table[["difference", "low", "high"]].dropna().to_numpy():
                for digits in (1, 2, 3):
                    yield tuple(f"{value:.{digits}f}" for value in row)
                    yield tuple(f"{-value:.{digits}f}" for value in row[[0, 2, 1]])


@pytest.mark.parametrize("page", [*STUDIES, "README", "../../README"])
def test_stated_differences_and_their_intervals_are_in_the_files(evidence, page):
    """A sentence's `+1.54 points (0.43 to 2.65)` is a row of comparisons.csv or claims.csv."""
    text = (evidence / f"{page}.md").read_text(encoding="utf-8")
    if page not in (*STUDIES, "README"):  # of the project's README one section
        text = text.partition("## Evidence")[2].partition("\n## ")[0]
    text = " ".join(text.split()).replace("−", "-").replace("*", "")
    stated = STATED.findall(text)
    assert len(stated) >= 2
    studies = [page] if page in STUDIES else STUDIES
    assert set(stated) <= set(known_differences(evidence, studies))


def test_the_primary_comparisons_are_those_of_the_runs_with_holm_s_correction(evidence):
    page = (evidence / "mechanism.md").read_text(encoding="utf-8")
    lines = page.partition("<!-- table: primary -->")[2].partition("\n\n")[2].split("\n\n")[0]
    runs = runs_of(evidence, "mechanism")
    students = runs[(runs["distiller"] == DISTILLER) & runs["teacher_epoch"].isna()]
    wide = students.pivot(index="seed", columns="method", values="top1") * 100
    methods = sorted({*wide.columns} - {"standard"}, key=_order)
    differences = {method: wide[method] - wide["standard"] for method in methods}
    tests = {method: stats.ttest_1samp(values, 0) for method, values in differences.items()}
    corrected = by_holm({method: test.pvalue for method, test in tests.items()})
    shown = []
    for method in methods:
        interval = tests[method].confidence_interval()
        cells = [
            NAMES.get(method, f"`{method}`"),
            f"{differences[method].mean():+.2f}",
            f"{interval.low:.2f} to {interval.high:.2f}",
            probability(tests[method].pvalue),
            probability(corrected[method]),
        ]
        text = " | ".join(cells[1:]).replace("-", "−")
        shown.append(f"| {cells[0]} | {text} |")
    assert lines.splitlines()[2:] == shown


def by_holm(p_values: dict[str, float]) -> dict[str, float]:
    """The k-th smallest of n times n - k + 1, no smaller than the one before, at most 1."""
    corrected, largest = {}, 0.0
    for k, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - k)))
        corrected[name] = largest
    return corrected


def probability(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


@pytest.mark.parametrize("study", STUDIES)
def test_stated_rank_correlations_are_in_the_figures(evidence, study):
    """`+0.63` of "its ECE it is +0.63" is a rank correlation of a figure `predictors`."""
    text = (evidence / f"{study}.md").read_text(encoding="utf-8")
    text = text.partition("## Does the teacher's")[2] or text.partition("## Secondary")[2]
    text = text.partition("\n## ")[0].replace("−", "-").partition("looked at afterwards")[0]
    known = set()
    for path in (evidence / study / "figures").glob("predictors*.csv"):
        known |= {f"{value:+.2f}" for value in pd.read_csv(path)["rank_correlation"]}
    stated = set(re.findall(r"[+-]0\.\d\d\b(?!;)", text))
    assert stated and stated <= known


@pytest.mark.parametrize("study", sorted({study for study, _ in TABLES}))
def test_all_runs_that_a_study_plans_are_there_and_done(root, evidence, study):
    planned = load(root / f"config/evidence/{study}.yaml")
    runs = runs_of(evidence, study)
    assert set(runs["status"]) == {"done"}
    assert set(runs["run"]) == set(expand(planned).runs)
    assert not runs["run"].duplicated().any()


def test_claims_of_the_studies_are_compared_as_their_files_have_them(evidence):
    """The verdicts in the table of the README, claim by claim, are those of claims.csv."""
    page = (evidence / "README.md").read_text(encoding="utf-8")
    verdicts = {
        study: pd.read_csv(evidence / study / "claims.csv")
        .drop_duplicates("claim")
        .set_index("claim")["verdict"]
        for study in STUDIES
    }
    lines = re.findall(r"^\| [^|]*\| `(\w+)` \|(.*)\|$", page, flags=re.MULTILINE)
    assert len(lines) >= 10
    for claim, cells in lines:
        shown = [text.strip() for text in cells.split("|")]
        assert shown == [verdicts[study][claim] for study in STUDIES], claim
    counted = {claim for study in STUDIES for claim in verdicts[study].index}
    measured = {c for c in counted if any(verdicts[s][c] != "not measured" for s in STUDIES)}
    assert measured == {claim for claim, _ in lines}
