"""Figures: the numbers that they return are worked by hand, and the lines carry these numbers."""

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from made_figures import binned, history, make, measured, one, record_of
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from soteacher.core.errors import UserError
from soteacher.report.drawing.colours import styles
from soteacher.report.drawing.panels import house_style, make_panels
from soteacher.report.figures import figure_report, make_svg, save

PAIR = "wrn_10_2/wrn_10_1"
STUDENT, TEACHER = "Student's test\naccuracy (%)", "Teacher's test\naccuracy (%)"


def lines(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def bands(axes):
    return {band.get_label(): band for band in axes.collections}


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts() if text.get_text().strip()]


def titles(figure):
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def axes_of(figure, y):
    return [axes for axes in figure.axes if axes.get_ylabel() == y]


def saved(figure, path):
    save(figure, path)
    return path.read_bytes()


def test_each_number_of_a_figure_tells_what_its_runs_were_trained_on():
    measures = measured(a=0.5, b=0.5, c="diverged")
    measures.loc["b", "device"] = "B GPU"
    parts = [
        {"panel": "n", "series": name, "runs": runs}
        for name, runs in (("x", ["a", "b"]), ("y", ["c"]))
    ]
    _, table = make("curves", parts, measures, history(a=[0.5], b=[0.5]))
    rest = "(1 thread), float32, torch 2.0.1, soteacher 1.2.3"
    both = f"A CPU {rest}; B GPU {rest}"
    assert list(table["trained_on"]) == [both, both, "", ""]


# checkpoints


@pytest.fixture
def checkpoints():
    """Two checkpoints of three teachers and of one of another method; one of the three diverged."""
    parts = [
        {
            "panel": PAIR,
            "series": series,
            "epoch": epoch,
            "teachers": [f"t{seed}" for seed in seeds],
            "students": [f"s{seed}_{epoch}" for seed in seeds],
        }
        for series, seeds in (("standard", "012"), ("soteacher", "3"))
        for epoch in (2, 4)
    ]
    measures = measured(
        **{"t0": 0.5, "t1": 0.5, "t2": "diverged", "t3": 0.5},
        **{"s0_2": 0.70, "s1_2": 0.74, "s2_2": "blocked", "s3_2": 0.6},
        **{"s0_4": 0.80, "s1_4": "diverged", "s2_4": "blocked", "s3_4": 0.65},
    )
    epochs = history(
        t0=[0.1, 0.3, 0.35, 0.40], t1=[0.2, 0.4, 0.5, 0.48], t2=[0.1, 0.9], t3=[0.1, 0.2, 0.3, 0.4]
    )
    return make("checkpoints", parts, measures, epochs)


def test_checkpoints_are_the_teachers_of_that_epoch_and_their_students_final_accuracy(checkpoints):
    _, table = checkpoints
    assert " ".join(table.columns) == (
        "panel series role epoch mean sd low high n n_planned runs trained_on"
    )
    assert len(table) == 2 * 2 * 2
    teacher = one(table, series="standard", role="teacher", epoch=2)
    assert teacher["mean"] == pytest.approx(35)  # of 30 and 40
    assert teacher["sd"] == pytest.approx(np.sqrt(5**2 + 5**2))  # n - 1 = 1
    assert (teacher["n"], teacher["n_planned"], teacher["runs"]) == (2, 3, "t0 t1")
    assert one(table, series="standard", role="teacher", epoch=4)["mean"] == pytest.approx(44)
    student = one(table, series="standard", role="student", epoch=2)
    assert student["mean"] == pytest.approx(72)
    assert student["sd"] == pytest.approx(np.sqrt(2**2 + 2**2))
    assert student["runs"] == "s0_2 s1_2"


def test_one_run_left_of_three_has_no_deviation(checkpoints):
    left = one(checkpoints[1], series="standard", role="student", epoch=4)
    assert left["mean"] == pytest.approx(80)
    assert np.isnan(left["sd"])
    assert (left["n"], left["n_planned"]) == (1, 3)


def test_checkpoints_are_drawn_as_returned(checkpoints):
    figure, table = checkpoints
    for role, y, dashed in (("student", STUDENT, False), ("teacher", TEACHER, True)):
        drawn = lines(*axes_of(figure, y))
        assert set(drawn) == {f"Standard {role}", f"SoTeacher {role}"}
        for series, name in (("standard", "Standard"), ("soteacher", "SoTeacher")):
            rows = table[(table["series"] == series) & (table["role"] == role)]
            line = drawn[f"{name} {role}"]
            assert list(line.get_xdata()) == [2, 4]
            assert list(line.get_ydata()) == list(rows["mean"])
            assert line.is_dashed() == dashed
            assert line.get_marker() != "None"


T_1 = 12.706204736
"""The 97.5 % quantile of Student's t with one degree of freedom, from a printed table."""


def test_a_band_is_the_interval_of_the_mean_and_only_where_there_are_several_runs(checkpoints):
    figure, table = checkpoints
    teacher = one(table, series="standard", role="teacher", epoch=2)
    assert [teacher["low"], teacher["high"]] == pytest.approx([35 - 5 * T_1, 35 + 5 * T_1])
    alone = one(table, series="standard", role="student", epoch=4)
    assert np.isnan([alone["low"], alone["high"]]).all()
    students, teachers = bands(*axes_of(figure, STUDENT)), bands(*axes_of(figure, TEACHER))
    assert set(teachers) == {"Standard teacher"}
    (outline,) = (path.vertices for path in teachers["Standard teacher"].get_paths())
    at_2 = sorted({y for x, y in outline if x == 2})
    assert at_2 == pytest.approx([35 - 5 * T_1, 35 + 5 * T_1])
    assert set(students) == {"Standard student"}
    (outline,) = (path.vertices for path in students["Standard student"].get_paths())
    assert {x for x, _ in outline} == {2}  # at epoch 4 one student is left


def test_the_axes_are_labelled_with_units_and_everything_has_its_printed_name(checkpoints):
    figure, _ = checkpoints
    assert titles(figure) == ["WRN10-2/WRN10-1", "Student over teacher"]
    assert [axes.get_xlabel() for axes in figure.axes] == (
        ["", "Teacher's epoch", "Teacher's test accuracy (%)"]
    )
    assert [axes.get_ylabel() for axes in figure.axes] == (
        [STUDENT, TEACHER, "Student's test accuracy (%)"]
    )
    assert legend_of(figure) == (
        ["Standard", "SoTeacher", "last epoch", "Mean, 95 % interval, n = 1–2 of 3 seeds"]
    )


def test_students_are_drawn_over_teachers_in_the_order_of_epochs_with_the_last_one_marked(
    checkpoints,
):
    paired = checkpoints[0].axes[2]
    joined = {
        line.get_label(): [*zip(line.get_xdata(), line.get_ydata(), strict=True)]
        for line in paired.get_lines()
        if line.get_label() != "last epoch"
    }
    assert joined["Standard"] == [pytest.approx((35, 72)), pytest.approx((44, 80))]
    assert joined["SoTeacher"] == [pytest.approx((20, 60)), pytest.approx((40, 65))]
    rings = [line for line in paired.get_lines() if line.get_label() == "last epoch"]
    assert [(*ring.get_xdata(), *ring.get_ydata()) for ring in rings] == (
        [pytest.approx((44, 80)), pytest.approx((40, 65))]
    )


def test_both_panels_are_beside_each_other_on_a_wide_page_and_below_on_a_narrow_one(checkpoints):
    _, table = checkpoints
    for width, beside in ((7, True), (3.5, False)):
        with house_style(width):
            figure = figure_report("checkpoints").draw(table)
        figure.draw_without_rendering()
        upper, lower, paired = (axes.get_window_extent() for axes in figure.axes)
        assert figure.get_figwidth() == width
        assert (paired.x0 > upper.x1) == beside and (paired.y1 < lower.y0) != beside


def test_accuracies_are_not_drawn_from_zero():
    part = {"panel": PAIR, "series": "standard", "epoch": 2, "teachers": ["t"], "students": ["s"]}
    later = part | {"epoch": 4, "students": ["u"]}
    measures, epochs = measured(t=0.5, s=0.6, u=0.8), history(t=[0.1, 0.2, 0.3, 0.4])
    (axes,) = axes_of(make("checkpoints", [part, later], measures, epochs)[0], STUDENT)
    low, high = axes.get_ylim()
    assert 55 < low < 60 and 80 < high < 85


def test_a_student_of_one_seed_has_its_own_interval_over_test_images():
    part = {"panel": PAIR, "series": "standard", "epoch": 1, "teachers": ["t"], "students": ["s"]}
    measures = measured(t=0.5, s=0.6)
    measures[["top1_low", "top1_high"]] = [["0.45", "0.55"], ["0.55", "0.64"]]
    figure, table = make("checkpoints", [part], measures, history(t=[0.2]))
    student, teacher = (one(table, role=role) for role in ("student", "teacher"))
    assert [student["low"], student["high"]] == pytest.approx([55, 64])
    assert np.isnan(teacher["low"])  # its interval is that of its last epoch
    assert legend_of(figure)[-1] == "95 % interval over test images, n = 1 seed"


def test_a_checkpoint_that_a_teacher_never_reached_is_refused():
    part = {"panel": PAIR, "series": "standard", "epoch": 9, "teachers": ["t"], "students": ["s"]}
    measures = measured(t=0.5, s=0.5)
    with pytest.raises(UserError, match=r"'t' has no epoch 9, .* its last epoch is 2"):
        make("checkpoints", [part], measures, history(t=[0.1, 0.2]))
    with pytest.raises(UserError, match="the epochs lack 't', which the figure needs"):
        make("checkpoints", [part], measures, history(other=[0.1]))


# curves


@pytest.fixture
def curves():
    """Two networks; one of three runs diverged midway, and so did the only run of a series."""
    parts = [
        {"panel": "wrn_10_2", "series": "standard", "runs": ["a", "b", "c"]},
        {"panel": "wrn_10_2", "series": "soteacher", "runs": ["d"]},
        {"panel": "wrn_16_2", "series": "standard", "runs": ["e"]},
    ]
    measures = measured(a=0.6, b=0.8, c="diverged", d="diverged", e=0.5)
    epochs = history(a=[0.2, 0.4, 0.6], b=[0.4, 0.4, 0.8], c=[0.9, 0.9], d=[0.3], e=[0.1, 0.3, 0.5])
    return make("curves", parts, measures, epochs)


def test_curves_are_means_over_finished_runs_of_both_splits(curves):
    _, table = curves
    assert list(table.columns) == (
        ["panel", "series", "split", "epoch", "mean", "sd", "n", "n_planned", "runs", "trained_on"]
    )
    both = table[(table["panel"] == "wrn_10_2") & (table["series"] == "standard")]
    test, train = both[both["split"] == "test"], both[both["split"] == "train"]
    assert list(test["epoch"]) == list(train["epoch"]) == [1, 2, 3]
    assert list(test["mean"]) == pytest.approx([30, 40, 70])
    assert list(train["mean"]) == pytest.approx([40, 50, 80])
    assert list(test["sd"]) == pytest.approx([np.sqrt(200), 0, np.sqrt(200)], abs=1e-9)
    assert set(both["n"]) == {2} and set(both["n_planned"]) == {3} and set(both["runs"]) == {"a b"}
    alone = table[table["panel"] == "wrn_16_2"]
    assert alone["sd"].isna().all() and set(alone["n"]) == {1}


def test_epochs_without_a_test_have_no_point():
    parts = [{"panel": "wrn_10_2", "series": "standard", "runs": ["a", "b"]}]
    epochs = history(a=[0.2, 0.4, 0.6], b=[0.4, 0.4, 0.8])
    epochs.loc[epochs["epoch"] == 2, "test_top1"] = np.nan
    figure, table = make("curves", parts, measured(a=0.6, b=0.8), epochs)
    by_split = {split: list(rows["epoch"]) for split, rows in table.groupby("split")}
    assert by_split == {"train": [1, 2, 3], "test": [1, 3]}
    [axes] = [axes for axes in figure.axes if axes.lines]
    assert sorted(len(line.get_xdata()) for line in axes.lines) == [2, 3]


def test_a_series_without_a_finished_run_stands_in_the_numbers_and_not_in_the_figure(curves):
    figure, table = curves
    for split in ("train", "test"):
        gone = one(table, series="soteacher", split=split)
        assert (gone["n"], gone["n_planned"], gone["runs"]) == (0, 1, "")
        assert gone[["epoch", "mean", "sd"]].isna().all()
    assert not any("SoTeacher" in name for axes in figure.axes for name in lines(axes))
    assert "SoTeacher" not in legend_of(figure)
    assert "wrn_10_2,soteacher,test,,,,0,1," in table.to_csv(index=False)
    assert "wrn_16_2,standard,test,1,10.0,,1,1,e" in table.to_csv(index=False)


def test_curves_are_drawn_as_returned(curves):
    figure, table = curves
    assert titles(figure) == ["WRN10-2", "WRN16-2"]
    for axes, panel in zip(figure.axes, ["wrn_10_2", "wrn_16_2"], strict=True):
        drawn = lines(axes)
        assert set(drawn) == {"Standard test", "Standard train"}
        for split in ("test", "train"):
            rows = table[(table["panel"] == panel) & (table["split"] == split) & (table["n"] > 0)]
            line = drawn[f"Standard {split}"]
            assert list(line.get_xdata()) == [1, 2, 3]
            assert list(line.get_ydata()) == list(rows["mean"])
            assert line.is_dashed() == (split == "train")
    assert set(bands(figure.axes[0])) == {"Standard test", "Standard train"}
    assert bands(figure.axes[1]) == {}  # n = 1
    assert figure.axes[0].get_ylabel() == "Accuracy (%)"
    assert {axes.get_xlabel() for axes in figure.axes} == {"Epoch"}


def test_one_seed_is_told_and_has_no_band():
    parts = [{"panel": "wrn_10_2", "series": "standard", "runs": ["a"]}]
    figure, _ = make("curves", parts, measured(a=0.6), history(a=[0.2, 0.6]))
    assert legend_of(figure) == ["Standard", "Test images", "Training images", "n = 1 seed"]


def test_a_panel_without_any_finished_run_says_so():
    parts = [{"panel": "wrn_10_2", "series": "standard", "runs": ["a"]}]
    figure, table = make("curves", parts, measured(a="diverged"), history(a=[0.2, 0.6]))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["no finished run"]
    assert not any(label.get_visible() for label in axes.get_xticklabels() + axes.get_yticklabels())
    assert list(table["n"]) == [0, 0]


def test_a_finished_run_without_epochs_is_refused():
    parts = [{"panel": "wrn_10_2", "series": "standard", "runs": ["a", "b"]}]
    with pytest.raises(UserError, match="the epochs lack 'b', which the figure needs"):
        make("curves", parts, measured(a=0.6, b=0.6), history(a=[0.6]))


# reliability


@pytest.fixture
def reliability():
    """A panel of two finished runs and one that diverged, and a panel without a finished run."""
    parts = [
        {"panel": "wrn_10_2 standard", "runs": ["a", "b", "c"]},
        {"panel": "wrn_10_2 soteacher", "runs": ["d"]},
    ]
    measures = measured(a=0.5, b=0.5, c="diverged", d="blocked")
    # Where a run has no number, pandas reads all numbers of a file as texts.
    measures["ece"] = ["0.10", "0.1361", "", ""]
    measures["ece_scaled"] = ["0.01", "0.03", "", ""]
    bins = pd.concat(
        [
            binned("a", 0, (0, 0, 0), (10, 0.5, 0.4), (30, 0.9, 0.8)),
            binned("b", 0, (0, 0, 0), (30, 0.6, 0.5), (10, 0.8, 1.0)),
            binned("a", 1, (20, 0.3, 0.2), (20, 0.5, 0.5), (0, 0, 0)),
            binned("b", 1, (20, 0.2, 0.3), (0, 0, 0), (20, 0.7, 0.6)),
        ]
    )
    return make("reliability", parts, measures, reliability=bins)


def test_bins_of_several_runs_are_pooled_by_their_images(reliability):
    _, table = reliability
    assert " ".join(table.columns) == (
        "panel scaled bin low high images share confidence accuracy accuracy_low accuracy_high "
        "n n_planned runs ece trained_on"
    )
    middle = one(table, panel="wrn_10_2 standard", scaled="before", bin=2)
    assert middle["images"] == 40
    assert middle["share"] == pytest.approx(40 / 80)
    assert middle["confidence"] == pytest.approx((10 * 0.5 + 30 * 0.6) / 40)
    assert middle["accuracy"] == pytest.approx((10 * 0.4 + 30 * 0.5) / 40)
    assert (middle["low"], middle["high"]) == (1 / 3, 2 / 3)
    assert (middle["n"], middle["n_planned"], middle["runs"]) == (2, 3, "a b")
    last = one(table, panel="wrn_10_2 standard", scaled="before", bin=3)
    assert last["confidence"] == pytest.approx((30 * 0.9 + 10 * 0.8) / 40)
    assert last["accuracy"] == pytest.approx((30 * 0.8 + 10 * 1.0) / 40)
    half = one(table, panel="wrn_10_2 standard", scaled="after", bin=2)
    assert (half["images"], half["confidence"], half["accuracy"]) == (20, 0.5, 0.5)


def test_an_empty_bin_has_a_share_of_zero_and_no_point(reliability):
    figure, table = reliability
    empty = one(table, panel="wrn_10_2 standard", scaled="before", bin=1)
    assert (empty["images"], empty["share"]) == (0, 0)
    assert np.isnan(empty["confidence"]) and np.isnan(empty["accuracy"])
    assert len(lines(figure.axes[0])["before"].get_xdata()) == 2


def test_the_interval_of_a_bin_is_wilson_s_on_the_images_of_one_run(reliability):
    """By the formula of Wilson, JASA 22, 1927, of 20 images of which 9.5, rounded to 10, are right.

    The two runs have 40 images in this bin.
    """
    _, table = reliability
    middle = one(table, panel="wrn_10_2 standard", scaled="before", bin=2)
    z, n, p = 1.959963985, 20, 10 / 20
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    ends = [middle["accuracy_low"], middle["accuracy_high"]]
    assert ends == pytest.approx([centre - half, centre + half])
    assert ends[0] < middle["accuracy"] < ends[1]


def test_a_marker_s_area_grows_with_the_images_of_its_bin_and_few_images_are_faint():
    bins = binned("a", 0, (9, 0.3, 0.2), (10, 0.5, 0.4), (30, 0.9, 0.8))
    bins = pd.concat([bins, bins.assign(scaled=1)])
    measures = measured(a=0.5).assign(ece=0.1, ece_scaled=0.1)
    parts = [{"panel": "wrn_10_2", "runs": ["a"]}]
    figure, _ = make("reliability", parts, measures, reliability=bins)
    scattered = [c for c in figure.axes[0].collections if isinstance(c, PathCollection)]
    faint, full = (c for c in scattered if c.get_label() == "before")
    areas = [*faint.get_sizes(), *full.get_sizes()]
    assert areas[1] - areas[0] == pytest.approx((areas[2] - areas[0]) / 21)
    assert (faint.get_alpha(), full.get_alpha()) == (0.3, 1)
    assert faint.get_offsets().tolist() == [[0.3, 0.2]]
    assert "under 10 images in a run" in legend_of(figure)


def test_reliability_is_drawn_as_returned_beside_the_diagonal(reliability):
    figure, table = reliability
    upper, lower = figure.axes[:2]
    drawn, steps = lines(upper), {patch.get_label(): patch for patch in lower.patches}
    assert list(drawn["diagonal"].get_xdata()) == list(drawn["diagonal"].get_ydata()) == [0, 1]
    for when in ("before", "after"):
        bins = table[(table["panel"] == "wrn_10_2 standard") & (table["scaled"] == when)]
        some = bins[bins["images"] > 0]
        assert list(drawn[when].get_xdata()) == list(some["confidence"])
        assert list(drawn[when].get_ydata()) == list(some["accuracy"])
        shares, edges, _ = steps[when].get_data()
        assert list(shares) == list(bins["share"])
        assert list(edges) == [0, 1 / 3, 2 / 3, 1]
    assert (upper.get_xlim(), upper.get_ylim()) == ((0, 1), (0, 1))
    assert [upper.get_ylabel(), lower.get_ylabel()] == ["Accuracy", "Share of\nimages"]
    assert lower.get_xlabel() == "Confidence"


def test_a_panel_tells_the_mean_calibration_error_over_runs(reliability):
    figure, table = reliability
    assert titles(figure)[0] == "WRN10-2 Standard\nECE 0.118 before, 0.020 after"
    before = table[(table["panel"] == "wrn_10_2 standard") & (table["scaled"] == "before")]
    assert list(before["ece"]) == pytest.approx([0.11805] * 3)
    assert legend_of(figure) == [
        "Before temperature scaling",
        "After temperature scaling",
        "under 10 images in a run",
        "n = 2 of 3 seeds",
    ]


def test_a_network_without_a_finished_run_stands_in_the_numbers_of_reliability(reliability):
    figure, table = reliability
    for when in ("before", "after"):
        gone = one(table, panel="wrn_10_2 soteacher", scaled=when)
        assert (gone["n"], gone["n_planned"], gone["images"], gone["runs"]) == (0, 1, 0, "")
        assert gone[["bin", "low", "share", "confidence", "accuracy", "ece"]].isna().all()
    assert titles(figure)[1] == "WRN10-2 SoTeacher"
    assert [text.get_text() for text in figure.axes[2].texts] == ["no finished run"]


# all kinds


# sweep


@pytest.fixture
def sweep():
    """Three values of a weight, one of which diverged for a seed, two of a ramp, and Standard."""
    own = {"students": ["o0", "o1"], "teachers": ["O0", "O1"], "is_base_value": True}
    others = {
        ("lipschitz.weight", "0"): ["a0", "a1"],
        ("lipschitz.weight", "0.0001"): own,
        ("lipschitz.weight", "3"): ["b0", "b1"],
        ("lipschitz.weight", ""): ["s0", "s1"],
        ("consistency.ramp", "linear"): own,
        ("consistency.ramp", "cosine"): ["c0", "c1"],
        ("consistency.ramp", ""): ["s0", "s1"],
    }
    parts = []
    for (panel, value), runs in others.items():
        if isinstance(runs, list):
            runs = {
                "students": runs,
                "teachers": [run.upper() for run in runs],
                "is_base_value": False,
            }
        series = "soteacher" if value else "standard"
        parts.append({"panel": panel, "series": series, "value": value} | runs)
    students = dict(o0=0.70, o1=0.72, a0=0.60, a1=0.60, b0=0.64, s0=0.65, s1=0.67, c0=0.5, c1=0.5)
    teachers = {run.upper(): accuracy + 0.1 for run, accuracy in students.items()}
    lost = {"b1": "blocked", "B1": "diverged"}
    return make("sweep", parts, measured(**students, **teachers, **lost))


def test_a_sweep_has_means_over_finished_students_and_teachers_of_each_value(sweep):
    _, table = sweep
    assert len(table) == 14
    own = one(table, panel="lipschitz.weight", value="0.0001", role="student")
    assert (own["mean"], own["sd"]) == pytest.approx((71.0, 2**0.5))
    assert own["own"] and own["runs"] == "o0 o1"
    lost = one(table, panel="lipschitz.weight", value="3", role="teacher")
    assert (lost["mean"], lost["n"], lost["n_planned"]) == (pytest.approx(74.0), 1, 2)
    compared = one(table, panel="consistency.ramp", value="", role="teacher")
    assert (compared["mean"], compared["series"]) == (pytest.approx(76.0), "standard")


def test_a_sweep_is_drawn_as_returned_with_the_own_value_marked(sweep):
    figure, _ = sweep
    weight, ramp = (axes for axes in figure.axes if axes.get_title())
    below = [axes for axes in figure.axes if not axes.get_title()]
    said = [[text.get_text() for text in axes.get_xticklabels()] for axes in below]
    assert said == [["0", "1e-4", "3"], ["linear", "cosine"]]
    for axes, means, own in ((weight, [60, 71, 64], 1), (ramp, [71, 50], 0)):
        compared, swept, triangle = (line for line in axes.get_lines() if len(line.get_xdata()))
        drawn = {line.get_marker(): line for line in (compared, swept, triangle)}
        assert list(drawn["None"].get_ydata()) == pytest.approx([66, 66])
        assert list(drawn["o"].get_ydata()) == pytest.approx(means)
        assert list(drawn["^"].get_xdata()) == [own]
        assert list(drawn["^"].get_ydata()) == pytest.approx([71])
    assert drawn["o"].get_linestyle() == "None"  # ramps have no order
    assert legend_of(figure) == [
        "SoTeacher, value in the study",
        "other values",
        "Standard",
        "Mean, 95 % interval, n = 1–2 of 2 seeds",
    ]
    half = T_1 * 2**0.5 / 2**0.5  # of 70 and 72 %
    [intervals] = [bars.get_segments() for bars in ramp.collections if bars.get_segments()]
    ends = intervals[0]
    assert list(ends[:, 1]) == pytest.approx([71 - half, 71 + half])


def test_all_panels_of_a_pair_share_their_y_axes(sweep):
    figure, _ = sweep
    for y in (STUDENT, TEACHER):
        [left] = axes_of(figure, y)
        alike = [axes for axes in figure.axes if left.get_shared_y_axes().joined(left, axes)]
        assert len(alike) == 2
    names = [f"{pair} {setting}" for pair in ("a/b", "c/d") for setting in ("x", "y")]
    with house_style():
        _, panels = make_panels(names, "", {"y": 1.0}, {"y"}, lambda name: name.split()[0])
    first, second, third, fourth = (panels[name]["y"] for name in names)
    joined = first.get_shared_y_axes().joined
    assert joined(first, second) and joined(third, fourth) and not joined(first, third)


def test_a_panel_of_a_sweep_without_any_finished_run_says_so():
    part = {
        "panel": "consistency.ramp",
        "series": "soteacher",
        "value": "linear",
        "is_base_value": True,
    }
    parts = [part | {"students": ["a"], "teachers": ["b"]}]
    figure, table = make("sweep", parts, measured(a="blocked", b="diverged"))
    assert list(table["n"]) == [0, 0]
    assert any(text.get_text() == "no finished run" for text in figure.axes[0].texts)


# grid


@pytest.fixture
def grid():
    """Two weights by two ramps; one run of a cell diverged, all of another; and Standard."""
    places = {
        ("0", "linear"): ["a0", "a1"],
        ("0", "cosine"): ["b0", "b1"],
        ("0.0001", "linear"): ["o0", "o1"],
        ("0.0001", "cosine"): ["c0", "c1"],
        ("", ""): ["s0", "s1"],
    }
    parts = [
        {
            "panel": PAIR,
            "series": "soteacher" if x else "standard",
            "x_setting": "lipschitz.weight",
            "x_value": x,
            "y_setting": "consistency.ramp",
            "y_value": y,
            "is_base_value": (x, y) == ("0.0001", "linear"),
            "students": runs,
            "teachers": [run.upper() for run in runs],
        }
        for (x, y), runs in places.items()
    ]
    students = dict(a0=0.60, a1=0.62, o0=0.70, o1=0.70, c0=0.71, c1=0.73, s0=0.65, s1=0.67)
    teachers = {run.upper(): 1.4 - accuracy for run, accuracy in students.items()}
    lost = dict(b0="blocked", b1="blocked", B0="diverged", B1="diverged")
    return make("grid", parts, measured(**students, **teachers, **lost))


def test_a_grid_has_means_with_intervals_and_the_best_cell_of_each_role(grid):
    _, table = grid
    assert len(table) == 10 and table["best"].sum() == 2
    best = one(table, best=True, role="student")
    assert (best["x_value"], best["y_value"], best["own"]) == ("0.0001", "cosine", False)
    half = T_1 * 2**0.5 / 2**0.5  # of 71 and 73 %
    assert list(best[["mean", "low", "high"]]) == pytest.approx([72, 72 - half, 72 + half])
    worst_taught = one(table, best=True, role="teacher")
    assert (worst_taught["x_value"], worst_taught["mean"]) == ("0", pytest.approx(79))
    gone = one(table, x_value="0", y_value="cosine", role="student")
    assert (gone["n"], gone["n_planned"]) == (0, 2)


def test_a_grid_is_drawn_as_returned_with_the_best_and_the_own_cell_marked(grid):
    figure, table = grid
    students, teachers = (axes for axes in figure.axes if axes.get_title())
    half = T_1
    assert students.get_title() == (
        f"WRN10-2/WRN10-1\nStudents, best: 72.0 % [{72 - half:.1f}, {72 + half:.1f}]"
    )
    assert [text.get_text() for text in teachers.get_xticklabels()] == ["0", "1e-4"]
    assert [text.get_text() for text in students.get_yticklabels()] == ["linear", "cosine"]
    for axes, means, best in ((students, [61, 70, 72], (1, 1)), (teachers, [79, 70, 68], (0, 0))):
        said = {(round(t.get_position()[0]), round(t.get_position()[1])): t for t in axes.texts}
        assert {at: text.get_text() for at, text in said.items()} == {
            at: f"{mean:.1f}" for at, mean in zip([(0, 0), (1, 0), (1, 1)], means, strict=True)
        }
        frames = [patch for patch in axes.patches if not patch.get_fill()]
        assert [(frame.get_x() + 0.5, frame.get_y() + 0.5) for frame in frames] == [best]
        hatched = [patch for patch in axes.patches if patch.get_hatch()]
        assert [(patch.get_x(), patch.get_y()) for patch in hatched] == [(-0.5, 0.5)]
        [own] = axes.get_lines()
        assert (own.get_marker(), list(own.get_xdata())) == ("^", [1])
        light = {
            at: sum(patch.get_facecolor()[:3])
            for patch in axes.patches
            if patch.get_fill() and not patch.get_hatch()
            for at in [(patch.get_x() + 0.5, patch.get_y() + 0.5)]
        }
        assert max(light, key=light.get) == best
    bars = [axes for axes in figure.axes if axes not in (students, teachers)]
    assert [list(axes.get_lines()[0].get_ydata()) for axes in bars] == [
        pytest.approx([66, 66]),
        pytest.approx([74, 74]),
    ]
    assert legend_of(figure) == [
        "SoTeacher in the study",
        "best mean [95 % interval], optimistic",
        "Standard, in the scale",
        "no finished run",
        "mean test accuracy (%), n = 2 seeds",
    ]
    said = figure_report("grid").describe(table)
    assert f"students: from 61.0 to 72.0 % [{72 - half:.1f}, {72 + half:.1f}], best at " in said


def test_a_grid_without_any_finished_run_says_so(grid):
    _, table = grid
    table = table.assign(n=0, mean=float("nan"), best=False)
    with house_style():
        figure = figure_report("grid").draw(table)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no finished run"]


def test_an_unknown_kind_of_figure_is_refused():
    with pytest.raises(UserError, match=r"unknown kind of figure 'curve'.*did you mean 'curves'"):
        make("curve", [], measured(a=0.5))


def test_a_method_has_the_same_colour_and_marker_whatever_else_is_drawn():
    alone = styles(["soteacher"])["soteacher"]
    assert styles(["standard", "soteacher"])["soteacher"] == alone
    assert styles(["ours", "soteacher", "no_cr", "standard"])["soteacher"] == alone
    assert styles(["standard"])["standard"][0] != alone[0]
    assert styles(["standard", "soteacher", "ours"])["ours"] == styles(["ours"])["ours"]
    names = ["standard", "theirs", "soteacher", "ours"]
    assert styles(names) == styles(reversed(names))


def test_the_first_seven_series_differ_in_colour_and_thirty_in_colour_and_marker():
    few = styles(["standard", "soteacher", *(f"method{n}" for n in range(5))])
    assert len({colour for colour, _ in few.values()}) == 7
    many = styles(["standard", "soteacher", *(f"method{n}" for n in range(28))])
    assert len(set(many.values())) == 30
    assert len(styles(f"method{n}" for n in range(100))) == 100


def test_the_order_of_a_study_changes_no_colour_in_a_figure():
    parts = [
        {"panel": "wrn_10_2", "series": series, "runs": [series]}
        for series in ("standard", "soteacher", "ours")
    ]
    measures = measured(standard=0.5, soteacher=0.5, ours=0.5)
    epochs = history(standard=[0.1, 0.5], soteacher=[0.2, 0.5], ours=[0.3, 0.5])
    colours = [
        {
            name: (to_hex(line.get_color()), line.get_marker())
            for name, line in lines(figure.axes[0]).items()
        }
        for figure, _ in (
            make("curves", parts, measures, epochs),
            make("curves", parts[::-1], measures, epochs),
        )
    ]
    assert colours[0] == colours[1]
    assert len(set(colours[0].values())) == 3


@pytest.mark.parametrize(
    ("n", "rows", "across", "width"),
    [(1, 1, 1, 3.5), (2, 1, 2, 7), (3, 1, 3, 7), (4, 2, 2, 7), (5, 2, 3, 7), (7, 3, 3, 7)],
)
def test_panels_wrap_to_even_rows_of_three_at_most(n, rows, across, width):
    with house_style():
        figure, panels = make_panels([f"p{i}" for i in range(n)], "x", {"y": 2.0}, shared=set())
    assert len(panels) == len(figure.axes) == n
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, across)
    assert tuple(figure.get_size_inches()) == (width, 2 * rows)


@pytest.mark.parametrize(("second", "shared"), [(0.35, True), (0.25, False)])
def test_panels_share_the_y_axis_where_their_accuracies_are_alike(second, shared):
    parts = [{"panel": run, "series": "standard", "runs": [run]} for run in ("a", "b")]
    epochs = history(a=[0.5, 0.6], b=[second, second + 0.1])
    figure, _ = make("curves", parts, measured(a=0.6, b=0.6), epochs)
    one_, other = figure.axes
    assert one_.get_shared_y_axes().joined(one_, other) == shared


def test_text_and_legend_stay_inside_the_figure_and_off_the_axes():
    runs = [f"method_with_a_long_name_{n}" for n in range(9)]
    parts = [{"panel": "wrn_10_2", "series": run, "runs": [run]} for run in runs]
    epochs = history(**{run: [0.5, 0.6] for run in runs})
    figure, _ = make("curves", parts, measured(**dict.fromkeys(runs, 0.6)), epochs)
    figure.draw_without_rendering()
    legend, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_tightbbox()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width
    assert legend.y0 >= 0 and legend.y1 <= axes.y0
    assert axes.x0 >= 0 and axes.x1 <= figure.bbox.width and axes.y1 <= figure.bbox.height


@pytest.mark.parametrize("width", [7, 3.5])
@pytest.mark.parametrize("kind", ["checkpoints", "curves", "grid", "reliability", "sweep"])
def test_the_legend_fits_on_wide_and_narrow_pages(kind, width, request):
    _, table = request.getfixturevalue(kind)
    with house_style(width):
        figure = figure_report(kind).draw(table)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width and legend.y0 >= 0


@pytest.mark.parametrize("kind", ["checkpoints", "curves", "grid", "reliability", "sweep"])
def test_saved_bytes_are_the_same_every_time(kind, request, tmp_path):
    figure, table = request.getfixturevalue(kind)
    first = {suffix: saved(figure, tmp_path / f"first.{suffix}") for suffix in ("png", "pdf")}
    again = {suffix: saved(figure, tmp_path / f"again.{suffix}") for suffix in ("pdf", "png")}
    assert first == again
    assert first["png"].startswith(b"\x89PNG") and first["pdf"].startswith(b"%PDF")
    record = record_of(kind, [])
    assert make_svg(record, table) == make_svg(record, table)


SCRIPT = """
import sys
import pandas as pd
from pathlib import Path
from soteacher.report.figures import make_figure, make_svg, save
from soteacher.report.figures.base import Measured
told = ("device", "capability", "precision", "torch", "soteacher")
machine = dict.fromkeys(told, "x") | {"threads": 1}
measures = pd.DataFrame(machine | {"status": "done"}, index=["a"])
epochs = pd.DataFrame({"run": "a", "epoch": [1, 2], "train_top1": [.1, .2], "test_top1": [.1, .2]})
point = {"panel": "wrn_10_2", "series": "ours", "runs": ["a"]}
record = {"kind": "curves", "name": "curves", "title": "A title", "points": [point]}
figure, table = make_figure(record, Measured(measures, epochs, None, None))
for suffix in ("png", "pdf"):
    save(figure, Path(sys.argv[1]) / f"figure.{suffix}")
(Path(sys.argv[1]) / "figure.svg").write_text(make_svg(record, table), encoding="utf-8")
assert "torch" not in sys.modules and "matplotlib.pyplot" not in sys.modules
"""


def test_two_processes_with_other_settings_write_the_same_bytes_without_torch(tmp_path):
    found = []
    for number, settings in enumerate(
        ["", "font.size: 20\naxes.titleweight: bold\nsavefig.dpi: 50\n"]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "matplotlibrc").write_text(settings)
        own = {"MATPLOTLIBRC": str(folder / "matplotlibrc"), "PYTHONHASHSEED": str(number)}
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)], env=os.environ | own, check=True
        )
        found.append([(folder / f"figure.{form}").read_bytes() for form in ("png", "pdf", "svg")])
    assert found[0] == found[1]


def test_files_say_nothing_about_when_and_with_what_they_were_made(curves, tmp_path):
    png, pdf = (saved(curves[0], tmp_path / f"figure.{suffix}") for suffix in ("png", "pdf"))
    assert b"tEXt" not in png and b"Software" not in png
    assert b"CreationDate" not in pdf and b"Producer" not in pdf
    assert b"/FontFile2" in pdf  # TrueType, not drawings of letters


def test_a_png_has_200_dots_per_inch(curves, tmp_path):
    png = saved(curves[0], tmp_path / "figure.png")
    pixels = [int.from_bytes(png[at : at + 4]) for at in (16, 20)]
    assert pixels == pytest.approx(200 * curves[0].get_size_inches(), abs=1)


def test_another_format_is_refused(curves, tmp_path):
    with pytest.raises(UserError, match="unknown format of a figure 'jpg'; known: pdf, png"):
        save(curves[0], tmp_path / "figure.jpg")
    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_left_as_it_was(curves, tmp_path):
    with matplotlib.rc_context({"font.size": 17}):
        make("curves", [{"panel": "p", "series": "s", "runs": ["a"]}], measured(a="blocked"))
        save(curves[0], tmp_path / "figure.png")
        assert matplotlib.rcParams["font.size"] == 17


def test_the_text_of_figure_1_has_the_last_epoch_of_each_series():
    """A fine-tuned teacher has more epochs than the others of its panel."""
    rows = [
        ("standard", 4, "student", 60.0),
        ("standard", 8, "student", 61.0),
        ("standard", 8, "teacher", 71.0),
        ("mcmi", 8, "student", 62.0),
        ("mcmi", 11, "student", 63.0),
        ("mcmi", 11, "teacher", 73.0),
    ]
    table = pd.DataFrame(rows, columns=["series", "epoch", "role", "mean"])
    said = figure_report("checkpoints").describe(table.assign(panel="a/b", n=1))
    last = said.partition("At the last epoch: ")[2]
    assert "Standard: teacher 71.0 %, student 61.0 %" in last
    assert "teacher 73.0 %, student 63.0 %" in last and "62.0" not in last and "60.0" not in last
