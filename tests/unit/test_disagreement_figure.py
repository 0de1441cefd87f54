"""Figures of measures against p* by tenths of disagreement: their points, numbers and drawing."""

import numpy as np
import pandas as pd
import pytest
from made_figures import NO_TENTHS, make, measured, one, record_of
from scipy import stats

from soteacher.core.errors import UserError
from soteacher.report.drawing.panels import house_style
from soteacher.report.figures import figure_report, make_svg
from soteacher.study.expand import expand
from soteacher.study.load import read

CERTAINTY = np.linspace(1, 0.55, 10)
TEACHERS, STUDENTS = "wrn_10_2", "wrn_10_2/wrn_10_1"
POINTS = [
    {"panel": TEACHERS, "series": "standard", "runs": ["a", "b", "c"]},
    {"panel": TEACHERS, "series": "soteacher", "runs": ["d", "lost", "e"]},
    {"panel": STUDENTS, "series": "standard", "runs": ["f"]},
    {"panel": STUDENTS, "series": "soteacher", "runs": ["gone"]},
]
FACTOR = dict(zip("abcdef", (1.0, 1.2, 1.7, 0.8, 0.9, 2.0), strict=True))


def tenths(run, factor, excess=0.1):
    """Ten rows of a run, with distances of 0.1 to 1 times a factor."""
    n = np.arange(1, 11)
    numbers = {"certainty": CERTAINTY, "entropy": 1 - CERTAINTY, "distance": n / 10 * factor}
    numbers |= {"excess_nll": excess * n * factor, "spread": n / 100 * factor, "like": 100}
    return pd.DataFrame({"run": run, "tenth": n, "images": 100} | numbers)[list(NO_TENTHS)]


def drawn(excess=0.1):
    """A figure of six finished and two other runs, and its table."""
    runs = measured(**dict.fromkeys(FACTOR, 0.5), lost="diverged", gone="blocked")
    rows = pd.concat([NO_TENTHS, *(tenths(run, factor, excess) for run, factor in FACTOR.items())])
    return make("disagreement", POINTS, runs, disagreement=rows)


def test_a_value_is_the_mean_over_seeds_with_student_s_interval():
    _, table = drawn()
    row = one(table, panel=TEACHERS, series="standard", measure="distance", tenth=5)
    values = [0.5, 0.6, 0.85]
    assert (row["mean"], row["sd"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert (row["n"], row["n_planned"], row["runs"]) == (3, 3, "a b c")
    assert row["certainty"] == pytest.approx(CERTAINTY[4])
    row = one(table, panel=TEACHERS, series="soteacher", measure="spread", tenth=10)
    assert (row["mean"], row["n"], row["n_planned"]) == (pytest.approx(0.085), 2, 3)
    row = one(table, panel=STUDENTS, series="standard", measure="excess_nll", tenth=1)
    assert row["mean"] == pytest.approx(0.2)
    assert np.isnan([row["sd"], row["low"], row["high"]]).all()


def test_a_series_without_a_finished_run_has_one_row_for_each_measure():
    _, table = drawn()
    rows = table[(table["panel"] == STUDENTS) & (table["series"] == "soteacher")]
    assert rows["measure"].tolist() == ["distance", "excess_nll", "spread"]
    assert rows["tenth"].isna().all() and (rows["n"] == 0).all() and (rows["runs"] == "").all()


def test_each_panel_has_a_level_for_each_measure_and_marks_the_certainty_of_its_tenths():
    figure, table = drawn()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["WRN10-2", "", "", "WRN10-2/WRN10-1", "", ""]
    labels = ["ℓ2 distance\nfrom p*", "Excess NLL\n(nats)", "Spread among\nlike images"]
    assert [axes.get_ylabel() for axes in figure.axes[:3]] == labels
    lowest = figure.axes[2]
    assert lowest.get_xticks().tolist() == list(range(1, 11))
    ticks = [label.get_text() for label in lowest.get_xticklabels()]
    assert (ticks[0], ticks[-1]) == ("1.00", "0.55")
    for measure, axes in zip(("distance", "excess_nll", "spread"), figure.axes[:3], strict=True):
        lines = {line.get_label(): line.get_ydata() for line in axes.lines}
        assert list(lines) == ["Standard", "SoTeacher"]
        rows = table[(table["panel"] == TEACHERS) & (table["measure"] == measure)]
        for name, series in (("Standard", "standard"), ("SoTeacher", "soteacher")):
            means = rows[rows["series"] == series].sort_values("tenth")["mean"]
            assert lines[name].tolist() == means.tolist()


def test_the_scale_of_excess_nll_is_logarithmic_only_where_values_span_a_large_factor():
    figure, _ = drawn()
    assert {axes.get_yscale() for axes in figure.axes} == {"linear"}
    runs = measured(a=0.5, b=0.5)
    points = [{"panel": TEACHERS, "series": run, "runs": [run]} for run in "ab"]
    rows = pd.concat([tenths("a", 1, 0.1), tenths("b", 1, 0.01)])
    figure, _ = make("disagreement", points, runs, disagreement=rows)
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "linear"]
    assert 0 < figure.axes[1].get_ylim()[0] < 0.01
    rows = pd.concat([tenths("a", 1, 0.1), tenths("b", 1, 1e-9)])  # b predicts p*, up to rounding
    figure, _ = make("disagreement", points, runs, disagreement=rows)
    assert figure.axes[1].get_yscale() == "linear"


def test_runs_without_tenths_are_refused_with_the_reason():
    points = [{"panel": TEACHERS, "series": "standard", "runs": ["a"]}]
    with pytest.raises(UserError, match=r"^'a' has no tenths of disagreement: .*; leave out the"):
        make("disagreement", points, measured(a=0.5))


@pytest.mark.parametrize("width", [7, 3.5])
def test_the_legend_fits_on_wide_and_narrow_pages(width):
    _, table = drawn()
    with house_style(width):
        figure = figure_report("disagreement").draw(table)
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width and legend.y0 >= 0


def test_the_svg_is_the_same_every_time_and_tells_the_first_and_the_last_tenth():
    _, table = drawn()
    svg = make_svg(record_of("disagreement", []), table)
    assert svg == make_svg(record_of("disagreement", []), table)
    assert "WRN10-2, Standard 0.130 and 1.300" in svg


def test_a_study_gets_panels_of_teachers_and_of_the_students_of_each_distiller(wide):
    for data in wide["data"].values():
        data["true_labels"] = {"counts": "counts.npy"}
    pairs = ["wrn_16_2/wrn_16_1", "wrn_16_2/wrn_10_1"]
    block = {"kind": "disagreement", "teachers": ["standard", "soteacher"], "pairs": pairs}
    wide["figures"] = {"tenths": block | {"distillers": ["kd", "kd_hot"], "seeds": [0, 1]}}
    found = expand(read(wide)).contents["tenths"].points
    panels = ["wrn_16_2", *(f"{pair} {method}" for pair in pairs for method in ("kd", "kd_hot"))]
    assert list(dict.fromkeys(point.panel for point in found)) == panels
    assert [point.series for point in found] == ["standard", "soteacher"] * 5
    assert [len(point.runs) for point in found] == [2] * 10
    assert {run.role for run in found[0].runs} == {"teacher"}
    assert {run.role for point in found[2:] for run in point.runs} == {"student"}
