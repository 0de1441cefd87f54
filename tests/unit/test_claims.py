"""The claims logic: made-up results give every verdict of every claim; the paper's own numbers."""

import math

import pandas as pd
import pytest
from made_claims_study import PAIR, SEEDS, TERMS, record_of, steps_of, study_of

from soteacher.claims.study_runs import StudyRuns
from soteacher.claims.table import CLAIMS, COLUMNS, OVERALL, make_claims
from soteacher.claims.texts import shown
from soteacher.claims.trends import last_against_best, slope
from soteacher.claims.verdicts import (
    FAILS,
    HOLDS,
    MISSING,
    OPEN,
    Outcome,
    almost_every,
    each,
    judged,
)
from soteacher.statistics.paired import seeds_needed

MIXED = ("mixup", "cutmix", "augmix")
SWEPT = {"no_lr": 0, "soteacher.lipschitz.weight=1e-05": 1, "soteacher": 2}
SWEPT |= {"soteacher.lipschitz.weight=0.001": 3}
EARLY = 0.03
"""How much better the students of the teacher's eighth epoch are than earlier ones."""


def shifted(role, methods, measure="top1", of_kd=True):
    """Changes a measure of some methods' final runs by a shift."""

    def of(shift):
        def added(found, of_role, method, distiller, epoch, place):
            if (found, of_role, epoch) != (measure, role, "") or method not in methods:
                return 0.0
            if role == "student" and (distiller == "kd") != of_kd:
                return 0.0
            return shift(place)

        return added

    return of


def by_epoch(method):
    """Changes the students of the last epoch, which are else as good as those of the eighth."""

    def of(shift):
        def added(found, role, of_method, distiller, epoch, place):
            if (found, role, of_method, distiller) != ("top1", "student", method, "kd"):
                return 0.0
            return {"8": EARLY, "": EARLY + shift(place)}.get(epoch, 0.0)

        return added

    return of


def by_weight(role):
    """Changes the accuracy with the Lipschitz weight; a shift per step of the weight."""

    def of(shift):
        def added(found, of_role, method, distiller, epoch, place):
            if (found, of_role, epoch) != ("top1", role, "") or method not in SWEPT:
                return 0.0
            return shift(place) * SWEPT[method]

        return added

    return of


# claim to what it is about, and to the shifts (in the measure's unit) that are far on the claimed
# side, and far on the other side
CASES = {
    "students_better": (shifted("student", ["soteacher"]), 0.03, -0.03),
    "teacher_less_accurate": (shifted("teacher", ["soteacher"]), -0.03, 0.03),
    "lipschitz_helps": (shifted("student", ["no_cr"]), 0.03, -0.03),
    "consistency_helps": (shifted("student", ["no_lr"]), 0.03, -0.03),
    "both_best": (shifted("student", ["soteacher"]), 0.03, -0.03),
    "lipschitz_lowers_teacher": (shifted("teacher", ["no_cr"]), -0.03, 0.03),
    "consistency_raises_teacher": (shifted("teacher", ["no_lr"]), 0.03, -0.03),
    "lower_ece": (shifted("teacher", ["soteacher"], "ece"), -0.05, 0.05),
    "lower_nll": (shifted("teacher", ["soteacher"], "nll"), -0.05, 0.05),
    "lower_ece_scaled": (shifted("teacher", ["soteacher"], "ece_scaled"), -0.05, 0.05),
    "lower_nll_scaled": (shifted("teacher", ["soteacher"], "nll_scaled"), -0.05, 0.05),
    "nearer_to_truth": (shifted("teacher", ["soteacher"], "train_distance"), -0.05, 0.05),
    "students_agree": (shifted("student", ["soteacher"], "agreement"), 0.03, -0.03),
    "longer_standard_hurts": (by_epoch("standard"), -0.08, 0.08),
    "longer_soteacher_does_not": (by_epoch("soteacher"), 0.0, -0.08),
    "robust_to_weights": (
        shifted("student", [name for name in SWEPT if name != "no_lr"]), 0.03, -0.03
    ),
    "robust_to_ramps": (
        shifted("student", ["soteacher", "soteacher.consistency.ramp=cosine"]), 0.03, -0.03
    ),
    "lipschitz_sweep_teacher": (by_weight("teacher"), -0.02, 0.02),
    "lipschitz_sweep_student": (by_weight("student"), 0.02, -0.02),
    "almost_every_distiller": (
        shifted("student", ["soteacher"], of_kd=False), 0.03, -0.03
    ),
    "crl_helps": (shifted("student", ["crl"]), 0.03, -0.03),
    "others_do_not_help": (shifted("student", ["l1", *MIXED]), -0.03, 0.03),
    "mixing_raises_teacher": (shifted("teacher", MIXED), 0.03, -0.03),
}  # fmt: skip
WOBBLE = (0.001, -0.001, 0.0005, -0.0002)
"""Small deviations of a difference by seed."""


def overall(study, claim):
    """The row with the verdict of a claim."""
    table = make_claims(study).set_index(["claim", "comparison"])
    return table.loc[claim, OVERALL]


def rows_of(study, claim):
    """The comparisons of a claim that the study measures, by label."""
    table = make_claims(study)
    of_claim = table[(table["claim"] == claim) & (table["comparison"] != OVERALL)]
    return of_claim[of_claim["verdict"] != MISSING].set_index("comparison")


def test_every_claim_but_that_of_times_has_a_case():
    assert {*CASES} | {"small_overhead"} == {claim.name for claim in CLAIMS}


@pytest.mark.parametrize("claim", CASES)
def test_results_far_on_the_claimed_side_hold(claim):
    of, claimed, _ = CASES[claim]
    row = overall(study_of(of(lambda place: claimed + WOBBLE[place])), claim)
    assert row["verdict"] == HOLDS
    assert row["n"] == len(SEEDS)
    assert pd.isna(row["seeds_needed"])


@pytest.mark.parametrize("claim", CASES)
def test_results_far_on_the_other_side_do_not_hold(claim):
    of, _, other = CASES[claim]
    row = overall(study_of(of(lambda place: other + WOBBLE[place])), claim)
    assert row["verdict"] == FAILS


@pytest.mark.parametrize("claim", CASES)
def test_results_that_differ_by_seed_cannot_be_told(claim):
    of, claimed, other = CASES[claim]
    swings = [claimed, other, claimed, other]
    row = overall(study_of(of(lambda place: swings[place] + WOBBLE[place])), claim)
    assert row["verdict"] == OPEN
    assert row["low"] < row["high"]
    assert "seeds" in row["why"]


@pytest.mark.parametrize("claim", CASES)
def test_one_seed_cannot_tell(claim):
    of, claimed, _ = CASES[claim]
    row = overall(study_of(of(lambda place: claimed), seeds=[7]), claim)
    assert row["verdict"] == OPEN
    assert math.isnan(row["low"])


@pytest.mark.parametrize("claim", CASES)
def test_a_study_without_the_runs_has_not_measured_it(claim):
    """Only Standard and a method that is in no claim are left."""
    terms = {"standard": {}, "label_smoothing": {"label_smoothing": {}}}
    record = record_of(terms)
    record["sweeps"], record["methods"] = [], record["methods"][:2]
    study = study_of(lambda *_: 0.0, record=record)
    study.runs = study.runs[study.runs["teacher_epoch"] == ""]
    row = overall(study, claim)
    assert row["verdict"] == MISSING
    assert row["why"] == "This study has no such runs."


@pytest.mark.parametrize(
    ("more", "noise", "verdict"),
    [(0.04, 0.01, HOLDS), (0.15, 0.01, FAILS), (0.10, 0.05, OPEN)],
)
def test_times_of_steps(more, noise, verdict):
    """A median of 4 % more is only slightly longer, one of 15 % is not."""
    row = overall(study_of(lambda *_: 0.0, steps=steps_of(more, noise)), "small_overhead")
    assert row["verdict"] == verdict
    assert row["low"] <= 100 * more <= row["high"]


def test_without_timed_steps_the_overhead_is_not_measured():
    assert overall(study_of(lambda *_: 0.0), "small_overhead")["verdict"] == MISSING


def test_the_table_has_the_columns_and_first_the_verdict_of_each_claim():
    table = make_claims(study_of(lambda *_: 0.0))
    assert list(table.columns) == list(COLUMNS)
    first = table.drop_duplicates("claim")
    assert (first["comparison"] == OVERALL).all()
    assert list(first["claim"]) == [claim.name for claim in CLAIMS]
    assert not table.duplicated(["claim", "comparison"]).any()


# what Welch's test says of the paper's own means and standard deviations: (holds, comparisons)
PAPERS = {
    "students_better": (3, 4, OPEN),
    "teacher_less_accurate": (2, 3, OPEN),
    "lipschitz_helps": (2, 4, OPEN),
    "consistency_helps": (1, 4, OPEN),
    "both_best": (2, 2, HOLDS),
    "lipschitz_lowers_teacher": (2, 3, OPEN),
    "consistency_raises_teacher": (1, 3, OPEN),
    "lower_ece": (3, 3, HOLDS),
    "lower_nll": (3, 3, HOLDS),
    "lower_ece_scaled": (3, 3, HOLDS),
    "lower_nll_scaled": (2, 3, OPEN),
    "students_agree": (4, 4, HOLDS),
    "almost_every_distiller": (25, 39, HOLDS),
    "crl_helps": (0, 1, OPEN),
    "others_do_not_help": (4, 4, HOLDS),
    "mixing_raises_teacher": (3, 3, HOLDS),
}


@pytest.fixture(scope="module")
def papers():
    """The table of a study that measures nothing of the paper."""
    return make_claims(study_of(lambda *_: 0.0))


@pytest.mark.parametrize("claim", [claim.name for claim in CLAIMS])
def test_what_the_paper_s_own_numbers_say(papers, claim):
    rows = papers[papers["claim"] == claim].set_index("comparison")
    verdicts = rows["paper_verdict"].drop(OVERALL)
    verdicts = verdicts[verdicts != MISSING]
    found = ((verdicts == HOLDS).sum(), len(verdicts), rows["paper_verdict"][OVERALL])
    assert found == PAPERS.get(claim, (0, 0, MISSING))


def test_crl_s_gain_in_the_paper_is_not_shown(papers):
    row = papers[papers["claim"] == "crl_helps"].iloc[0]
    half = (row["paper_high"] - row["paper_low"]) / 2
    assert (row["paper_difference"], half) == pytest.approx((0.40, 0.61), abs=0.005)


def test_table_6_is_told_with_holm_s_correction(papers):
    why = papers[papers["claim"] == "almost_every_distiller"]["paper_why"].iloc[0]
    assert "25 of 39 comparisons" in why
    assert "14 of them significant after Holm's correction" in why


def test_a_cell_that_two_differences_share_counts_once(papers):
    """SoTeacher against no-CR and against no-LR: its mean has the weight 1, not twice 1/2."""
    row = papers[papers["claim"] == "both_best"].iloc[0]
    sds = {"soteacher": (0.23, 0.23, 0.09, 0.20), "no_cr": (0.11, 0.24, 0.52, 0.27)}
    sds["no_lr"] = (0.15, 0.13, 0.18, 0.43)
    weights = {"soteacher": 1 / 4, "no_cr": 1 / 8, "no_lr": 1 / 8}
    parts = [(weights[name] * sd) ** 2 / 3 for name, four in sds.items() for sd in four]
    freedom = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    from scipy import stats

    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    assert (row["paper_high"] - row["paper_low"]) / 2 == pytest.approx(half)


def test_a_pair_of_the_paper_has_its_numbers_in_one_row():
    pair = "wrn_40_2/wrn_40_1"
    study = study_of(lambda *_: 0.0, record=record_of(pair=pair))
    row = rows_of(study, "students_better").loc[pair]
    assert row["paper_difference"] == pytest.approx(0.62)
    assert row["n"] == len(SEEDS)


def test_only_the_paper_s_experiment_is_told_as_such():
    pair = "wrn_40_2/wrn_40_1"
    methods = ("standard", "soteacher")
    papers = [[pair, "kd", method] for method in methods]
    told = overall(
        study_of(lambda *_: 0.0, record=record_of(pair=pair, papers=papers)), "students_better"
    )
    assert told["why"].startswith("In the paper's experiment, repeated here,")
    others = overall(
        study_of(lambda *_: 0.0, record=record_of(pair=pair, papers=papers[:1])), "students_better"
    )
    assert others["why"].startswith("In this study,")


def test_another_soteacher_is_compared_but_does_not_count():
    strong = {"lipschitz": {"weight": 3e-4}, "consistency": {"weight": 10}}
    record = record_of(TERMS | {"strong": strong})
    for one in record["methods"]:
        if one["method"] == "strong":
            one["role"] = "soteacher"
    of = shifted("student", ["strong"])
    study = study_of(of(lambda place: 0.05 + WOBBLE[place]), record=record)
    rows = rows_of(study, "students_better")
    assert list(rows.index) == [PAIR, f"{PAIR}, strong, kd"]
    assert list(rows["verdict"]) == [OPEN, HOLDS]
    assert "does not count" in rows["why"].iloc[1]
    assert overall(study, "students_better")["verdict"] == OPEN
    # no method with one regularizer has its settings
    assert list(rows_of(study, "both_best")["method"]) == ["soteacher", "soteacher"]


def test_a_pair_with_one_seed_leaves_a_claim_about_every_pair_open():
    of = shifted("student", ["soteacher"])
    several = study_of(of(lambda place: 0.05 + WOBBLE[place]))
    one = study_of(of(lambda place: -0.05), seeds=[2], record=record_of(pair="other"))
    record = record_of()
    record["pairs"] += record_of(pair="other")["pairs"]
    students = one.runs[one.runs["role"] == "student"]
    both = StudyRuns(pd.concat([several.runs, students]), record, several.steps)
    rows = rows_of(both, "students_better")
    assert list(rows["verdict"]) == [HOLDS, OPEN]
    assert overall(both, "students_better")["verdict"] == OPEN
    average = overall(both, "both_best")
    assert (average["verdict"], average["n"]) == (OPEN, 1)
    assert overall(one, "students_better")["verdict"] == OPEN


def test_a_seed_without_a_finished_run_is_left_out_and_told():
    of = shifted("student", ["soteacher"])
    study = study_of(of(lambda place: 0.03 + WOBBLE[place]), lost=["soteacher/3/kd"])
    row = rows_of(study, "students_better").loc[PAIR]
    assert row["n"] == 3
    assert row["why"].endswith("1 of 4 seeds lack a finished run.")
    lost = [f"soteacher/{seed}/kd" for seed in SEEDS]
    row = overall(study_of(lambda *_: 0.0, lost=lost), "students_better")
    assert (row["verdict"], row["n"]) == (OPEN, 0)
    assert "no seed has finished runs of both" in row["why"]


def test_seeds_that_one_of_two_methods_is_not_planned_for_are_not_lost():
    """Standard has four seeds, a swept weight one: a figure has fewer seeds than a table."""
    study = study_of(lambda *_: 0.0)
    swept = study.runs["method"].str.contains("lipschitz.weight=")
    study.runs = study.runs[~swept | (study.runs["seed"] == str(SEEDS[0]))]
    one_seed, several = rows_of(study, "robust_to_weights").sort_values("n").iloc[[0, -1]].iloc
    assert (one_seed["n"], several["n"]) == (1, len(SEEDS))
    trend = rows_of(study, "lipschitz_sweep_student").iloc[0]
    assert trend["n"] == 1
    assert not any("lack a finished run" in why for why in (one_seed["why"], trend["why"]))


def test_figure_1_with_one_seed_needs_another():
    row = overall(study_of(lambda *_: 0.0, seeds=[7]), "longer_standard_hurts")
    assert (row["verdict"], row["n"]) == (OPEN, 0)
    assert (
        row["why"] == "In this study, fewer than 2 seeds have all the finished runs that it needs."
    )


def test_the_average_over_distillers_decides_about_almost_every_one():
    """Each distiller differs much by seed, and their average little."""
    swings = {"fitnet": (9, -9, 9, -9), "at": (-9, 9, -9, 9), "sp": (0, 0, 0, 0)}

    def added(measure, role, method, distiller, epoch, place):
        if (measure, method) != ("top1", "soteacher") or distiller not in swings:
            return 0.0
        return (1 + swings[distiller][place] + 2 * WOBBLE[place] / 0.001) / 100

    row = overall(study_of(added), "almost_every_distiller")
    each_row = rows_of(study_of(added), "almost_every_distiller")
    average = 1 + 2 * pd.Series(WOBBLE) / 0.001
    assert row["verdict"] == OPEN
    assert row["seeds_needed"] == seeds_needed(average.mean(), average.std())
    assert row["seeds_needed"] < each_row["seeds_needed"].max()
    # two of three are fewer than nine of ten: more seeds of the same cannot decide
    worse = dict(swings, sp=(-2, -2, -2, -2))
    swings.update(worse)
    assert pd.isna(overall(study_of(added), "almost_every_distiller")["seeds_needed"])


def test_a_trend_does_not_borrow_the_spread_of_differences():
    """Points per step of a weight are not points."""
    spread = (0.01, -0.01, 0.01, -0.01)

    def added(measure, role, method, distiller, epoch, place):
        return 0.0 if method == "standard" else SWEPT.get(method, 0) / 100 + spread[place]

    study = study_of(added)
    swept = study.runs["method"].str.contains("lipschitz.weight=")
    study.runs = study.runs[~swept | (study.runs["seed"] == str(SEEDS[0]))]
    row = overall(study, "lipschitz_sweep_student")
    assert (row["n"], row["unit"]) == (1, "percentage points per step")
    assert pd.isna(row["seeds_needed"])
    assert "at least 2 seeds are needed" in row["why"]


def test_one_seed_borrows_the_spread_of_other_comparisons():
    """CRL has one seed; the other methods have four, whose differences spread by 1 point."""
    spread = (0.01, -0.01, 0.01, -0.01)

    def added(measure, role, method, distiller, epoch, place):
        return (0.02 if method == "crl" else spread[place]) if method != "standard" else 0.0

    study = study_of(added)
    one_seed = (study.runs["method"] != "crl") | (study.runs["seed"] == str(SEEDS[0]))
    study.runs = study.runs[one_seed]
    row = overall(study, "crl_helps")
    # the differences of the others have the sd 1.155; for 2.0 points, power 0.8 needs 5 seeds
    assert (row["verdict"], row["n"], row["seeds_needed"]) == (OPEN, 1, 5)
    assert "n = 1: no interval over seeds" in row["why"]
    assert "about 5 seeds would decide" in row["why"]


def test_one_seed_has_an_interval_over_test_images():
    study = study_of(lambda *_: 0.0, seeds=[3])
    study.runs["top1_low"] = [str(float(value) - 0.03) for value in study.runs["top1"]]
    study.runs["top1_high"] = [str(float(value) + 0.04) for value in study.runs["top1"]]
    why = rows_of(study, "students_better").loc[PAIR, "why"]
    assert "over test images alone, -5.00 to +5.00" in why  # 5 = sqrt(3 squared + 4 squared)


def test_the_best_epoch_is_chosen_by_the_other_seeds():
    accuracy = pd.DataFrame({"4": [70, 60, 61], "8": [60, 70, 72], "last": [65, 64, 66]})
    # seed 0: the others are best at 8, where it has 60; seeds 1 and 2: at 4 the others have 65.5
    # and 65, at 8 they have 66 and 65; a tie is the earlier epoch
    assert list(last_against_best(accuracy)) == [5, -6, 5]
    better = accuracy.assign(last=90)  # the last epoch is compared with earlier ones alone
    assert list(last_against_best(better)) == [30, 20, 29]


def test_a_difference_that_rounds_to_zero_has_no_minus():
    assert shown(-0.001, "percentage points") == "+0.00"
    assert shown(-0.001, "nats") == "-0.001"


def test_the_slope_is_per_step_of_the_weight():
    assert slope(pd.Series({0.0: 70.0, 1e-5: 68.0, 1e-4: 66.0, 1e-3: 64.0})) == pytest.approx(-2)
    assert slope(pd.Series({1e-3: 64.0, 0.0: 70.0, 1e-5: 64.0})) == pytest.approx(-3)
    assert math.isnan(slope(pd.Series({0.0: 70.0, 1e-5: math.nan, 1e-3: 64.0})))


def test_a_measure_that_no_finished_run_has_is_not_measured():
    """Where the true label distributions are not known."""
    study = study_of(lambda *_: 0.0)
    study.runs["train_distance"] = ""
    assert overall(study, "nearer_to_truth")["verdict"] == MISSING


def test_equal_epochs_show_no_loss():
    """If the best epoch were each seed's own, pure noise would look as if training hurt."""
    import numpy as np

    noise = np.random.default_rng(0).normal(70, 1, (400, 3, 6))
    columns = ["1", "2", "3", "4", "5", "last"]
    means = [last_against_best(pd.DataFrame(one, columns=columns)).mean() for one in noise]
    assert abs(np.mean(means)) < 4 * np.std(means) / math.sqrt(len(means))


def test_the_rule_of_one_comparison():
    assert judged(1.0, 0.5, 1.5, 0.01, 1, 0.0).verdict == HOLDS
    assert judged(1.0, -0.5, 1.5, 0.2, 1, 0.0).verdict == OPEN
    assert judged(-1.0, -1.5, -0.5, 0.01, 1, 0.0).verdict == FAILS
    assert judged(-1.0, -1.5, -0.5, 0.01, -1, 0.0).verdict == HOLDS
    # not worse by more than 0.5: an interval that has 0 inside can hold
    assert judged(0.0, -0.4, 0.4, 0.01, 1, -0.5).verdict == HOLDS
    assert judged(0.0, -0.6, 0.6, 0.1, 1, -0.5).verdict == OPEN
    assert judged(1.0, math.nan, math.nan, math.nan, 1, 0.0).verdict == OPEN


def test_one_failure_of_many_must_remain_after_holm():
    good, doubtful = Outcome(HOLDS, p=0.001), Outcome(FAILS, p=0.04)
    average = Outcome(HOLDS, 1.0, 0.5, 1.5, 0.01)
    assert each([doubtful], average, 1, 0.0).verdict == FAILS
    # the smallest of four p values is multiplied by 4, the largest by 1
    assert each([good, good, good, doubtful], average, 1, 0.0).verdict == FAILS
    open_ones = [Outcome(OPEN, p=0.5)] * 3
    assert each([*open_ones, doubtful], average, 1, 0.0).verdict == OPEN


def test_almost_every_is_nine_of_ten():
    average = Outcome(HOLDS, 1.0, 0.5, 1.5, 0.01)

    def verdict(good, bad, mean=average):
        outcomes = [Outcome(OPEN, 1.0)] * good + [Outcome(OPEN, -1.0)] * bad
        return almost_every(outcomes, mean, 1, 0.0).verdict

    assert verdict(12, 1) == HOLDS
    assert verdict(11, 2) == OPEN
    assert verdict(4, 9) == FAILS
    assert verdict(13, 0, Outcome(OPEN, 1.0)) == OPEN  # one seed
    assert verdict(13, 0, Outcome(FAILS, -1.0, -1.5, -0.5, 0.01)) == FAILS
