"""Figures of kind `predictors`: numbers worked by hand, drawn as returned; missing measures."""

from __future__ import annotations

import numpy as np
import pytest
from made_figures import make, measured, one, record_of

from soteacher.report.figures import make_svg

PAIR = "wrn_10_2/wrn_10_1"
TRUE = ("train_distance", "train_spread")
ALWAYS = ("top1", "ece", "nll")


def points(methods="abc", seeds=(0, 1), panel=PAIR):
    return [
        {
            "panel": panel,
            "series": method,
            "seeds": list(seeds),
            "teachers": [f"{method}T{seed}" for seed in seeds],
            "students": [f"{method}S{seed}" for seed in seeds],
        }
        for method in methods
    ]


def measures(**lost):
    """Three methods and two seeds: teachers that are farther off have worse students."""
    top1 = {"aS0": 0.9, "bS0": 0.8, "cS0": 0.7, "aS1": 0.6, "bS1": 0.4, "cS1": 0.5}
    teachers = {f"{method}T{seed}": 0.5 for method in "abc" for seed in (0, 1)}
    runs = measured(**{**top1, **teachers, **lost})
    distance = {"aT0": 0.1, "bT0": 0.2, "cT0": 0.3, "aT1": 0.1, "bT1": 0.2, "cT1": 0.3}
    for name in ("train_distance", "train_spread", "ece", "nll"):
        # Where a run has no number, pandas reads all numbers of a file as texts.
        runs[name] = [str(distance[run]) if run in distance else "" for run in runs.index]
    return runs


def test_each_student_is_a_row_with_its_teacher_s_measure():
    _, table = make("predictors", points(), measures())
    assert " ".join(table.columns) == (
        "panel predictor series seed teacher_value student_accuracy n n_planned runs "
        "rank_correlation p permutations exact trained_on"
    )
    assert len(table) == 5 * 3 * 2
    row = one(table, predictor="train_distance", series="b", seed=1)
    assert (row["teacher_value"], row["student_accuracy"]) == pytest.approx((0.2, 40))
    assert (row["n"], row["n_planned"], row["runs"]) == (1, 1, "bT1 bS1")
    accuracy = one(table, predictor="top1", series="a", seed=0)
    assert accuracy["teacher_value"] == pytest.approx(50)


def test_the_correlation_is_that_within_seeds_by_hand():
    """Ranks of seed 0: -1 0 1 and 1 0 -1, products -2; of seed 1: -1 0 1 and 1 -1 0, products -1.

    Of the 6 · 6 permutations, |sum| >= 3 has (2, 1) and (1, 2) with 1 · 2 each, (2, 2) with 1, and
    the same with the other sign: 2 (2 + 2 + 1) = 10.
    """
    _, table = make("predictors", points(), measures())
    row = table[table["predictor"] == "train_distance"].iloc[0]
    assert row["rank_correlation"] == pytest.approx(-3 / 4)
    assert (row["p"], row["permutations"], row["exact"]) == (pytest.approx(10 / 36), 36, True)
    same = table[table["predictor"] == "top1"]  # all teachers have the same accuracy
    assert same["rank_correlation"].isna().all() and same["p"].isna().all()


def test_points_are_drawn_as_returned_with_the_correlation_above():
    figure, table = make("predictors", points(), measures())
    assert [axes.get_title() for axes in figure.axes] == (
        ["ρ = −0.75, p = 0.28"] * 2 + ["no rank correlation"] + ["ρ = −0.75, p = 0.28"] * 2
    )
    for axes, (_, rows) in zip(figure.axes, table.groupby("predictor", sort=False), strict=True):
        drawn = {
            (line.get_label(), x, y)
            for line in axes.get_lines()
            for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        }
        columns = ["series", "teacher_value", "student_accuracy"]
        assert drawn == set(rows[columns].itertuples(index=False, name=None))
        assert axes.get_shared_y_axes().joined(axes, figure.axes[0])
    assert figure.axes[0].get_xlabel().startswith("Teacher's ℓ2 distance to p*")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]


@pytest.mark.parametrize("missing", ["column", "numbers"])
def test_measures_of_unknown_truth_are_left_out(missing):
    runs = measures()
    for name in TRUE:
        runs[name] = ""
    if missing == "column":
        runs = runs.drop(columns=list(TRUE))
    figure, table = make("predictors", points(), runs)
    assert set(table["predictor"]) == set(ALWAYS) and len(figure.axes) == 3


def test_a_pair_without_known_truth_beside_one_with():
    other = [point | {"panel": "other"} for point in points("c")]
    runs = measures()
    runs.loc[["cT0", "cT1"], list(TRUE)] = ""
    figure, table = make("predictors", points("ab") + other, runs)
    assert table.groupby("panel")["predictor"].nunique().to_dict() == {PAIR: 5, "other": 3}
    assert figure.axes[0].get_title().startswith("WRN10-2/WRN10-1\nρ = ")


def test_a_student_or_teacher_that_is_not_finished_is_in_the_numbers_only():
    figure, table = make("predictors", points(), measures(aT0="diverged", aS0="blocked"))
    gone = table[(table["series"] == "a") & (table["seed"] == 0)]
    assert set(gone["n"]) == {0} and set(gone["runs"]) == {""}
    assert gone["teacher_value"].isna().all() and gone["student_accuracy"].isna().all()
    assert set(table["permutations"]) == {0, 2 * 6}
    assert sum(len(line.get_xdata()) for line in figure.axes[0].get_lines()) == 5


def test_without_a_finished_run_each_panel_says_so():
    runs = dict.fromkeys(("aT0", "aS0"), "diverged")
    figure, table = make("predictors", points("a", seeds=[0]), measured(**runs))
    assert set(table["n"]) == {0}
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == ["no finished run"] * 3
    assert np.isnan(table["p"]).all()


def test_who_does_not_see_the_figure_hears_the_correlations():
    _, table = make("predictors", points(), measures())
    svg = make_svg(record_of("predictors", points()), table)
    assert "Test accuracy of 6 students over measures of their teachers." in svg
    assert "Teacher's ℓ2 distance to p* (training images): ρ = −0.75, p = 0.28;" in svg
