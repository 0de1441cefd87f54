"""From measures to what is printed, and when the paper's numbers may stand beside ours."""

import csv
import re

import numpy as np
import pandas as pd
import pytest
from made_tables import (
    MACHINE,
    PAIR,
    STUDENT,
    TEACHER,
    block_of,
    cell,
    heading,
    lost,
    notes,
    paper_note,
    row,
    shown,
    tabulate,
)
from scipy import stats

from soteacher import cli
from soteacher.core.errors import Damaged, UserError
from soteacher.core.hash_list import write_hash_list
from soteacher.report.csv_files import read_measures
from soteacher.report.grid import grid
from soteacher.report.latex import to_latex
from soteacher.report.markdown import to_markdown
from soteacher.report.tables import read_table, report_of
from soteacher.results.columns import COLUMNS
from soteacher.study.requests import Request

DEVIATIONS = ("batch 32 (paper: 64)", "method ours (not in the paper)")
SEEDS = ["s0", "s1", "s2"]
DIVERGED = "bad: diverged in epoch 3, step 7 (ce=nan)"


@pytest.fixture
def write_measures(tmp_path):
    """Write files of measures, as the `measure` command does; returns their paths."""

    def write(*files):
        paths = []
        for number, rows in enumerate(files):
            path = tmp_path / f"measures{number}.csv"
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(rows)
            write_hash_list(path)
            paths.append(path)
        return paths

    return write


def only(table):
    assert len(table) == 1
    return table.iloc[0]


# cells


def test_a_cell_is_mean_sample_deviation_and_number_of_its_runs_in_percent():
    block = block_of(cell("standard", SEEDS))
    found = only(tabulate(block, row("s0", 0.70), row("s1", 0.72), row("s2", 0.77)))
    assert found["mean"] == pytest.approx(73)
    assert found["sd"] == pytest.approx(np.sqrt((9 + 1 + 16) / 2))  # n - 1 = 2
    assert (found["n"], found["n_planned"]) == (3, 3)
    assert shown(found) == "73.00 ± 3.61"


def test_a_cell_has_the_measure_that_it_names():
    block = block_of(
        cell("standard", ["s0"]),
        cell("standard", ["s0"], f"{PAIR} student.top5", "top5"),
    )
    assert list(tabulate(block, row("s0", 0.5, top5=0.875))["mean"]) == [50, 87.5]


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        ("top1", "12.34 ± 0.01"),
        ("top5", "12.34 ± 0.01"),
        ("agreement", "12.34 ± 0.01"),
        ("predictive_kl", "0.123 ± 0.000"),
        ("ece", "0.123 ± 0.000"),
        ("nll", "0.123 ± 0.000"),
        ("ece_scaled", "0.123 ± 0.000"),
        ("nll_scaled", "0.123 ± 0.000"),
        ("train_distance", "0.123 ± 0.000"),
        ("test_distance_l1", "0.123 ± 0.000"),
    ],
)
def test_shares_are_in_percent_with_two_decimals_and_all_else_as_it_is_with_three(measure, text):
    block = block_of(cell("standard", ["s0", "s1"], measure=measure))
    found = tabulate(block, row("s0", 0.0) | {measure: 0.1233}, row("s1", 0.0) | {measure: 0.1235})
    assert shown(only(found)) == text


def test_a_round_value_keeps_its_decimals():
    block = block_of(cell("standard", ["s0"]), cell("soteacher", ["t0"]))
    text = to_markdown(block, tabulate(block, row("s0", 0.16), row("t0", 0.1622)))
    assert "| 16.00" in text and "| 16.22" in text


def test_one_seed_has_no_deviation():
    block = block_of(cell("standard", ["s0"]))
    found = tabulate(block, row("s0", 0.7))
    assert shown(only(found)) == "70.00"
    assert "±" not in to_markdown(block, found)
    assert heading(block, found) == "Test accuracy in percent; one seed (n = 1), last epoch."


def test_the_heading_tells_how_many_seeds_cells_have():
    block = block_of(cell("standard", SEEDS), cell("soteacher", ["t0", "t1"]))
    found = tabulate(block, *(row(run, 0.7) for run in block["runs"]))
    assert "sample standard deviation over n = 2 or 3 seeds, last epoch" in heading(block, found)


def test_the_best_epoch_s_accuracy_stands_beside_the_last_one_s_and_only_where_there_is_one():
    block = block_of(cell("standard", ["s0", "s1"]), cell("standard", ["s0", "s1"], "ece", "ece"))
    rows = [row("s0", 0.70, best_top1=0.75, ece=0.1), row("s1", 0.72, best_top1=0.79, ece=0.1)]
    found = tabulate(block, *rows)
    assert found["best_mean"][0] == pytest.approx(77)
    assert found["best_sd"][0] == pytest.approx(np.sqrt(8))
    assert found[["best_mean", "best_sd"]].iloc[1].isna().all()
    assert shown(found.iloc[0]) == "71.00 ± 1.41"


def test_a_cell_tells_each_run_its_value_and_its_status():
    block = block_of(cell("standard", SEEDS, role="teacher"))
    found = only(tabulate(block, row("s0", 0.7), lost("s1", "diverged", DIVERGED), row("s2", 0.8)))
    assert found["runs"].split() == SEEDS
    assert [float(value) for value in found["values"].split()] == pytest.approx(
        [70, float("nan"), 80], nan_ok=True
    )
    assert found["status"].split() == ["done", "diverged", "done"]
    assert found["role"] == "teacher"


# runs without a result


def test_a_diverged_run_is_left_out_and_told():
    block = block_of(cell("standard", SEEDS))
    found = tabulate(block, row("s0", 0.7), lost("s1", "diverged", DIVERGED), row("s2", 0.8))
    assert shown(only(found)) == "75.00 ± 7.07 (n = 2 of 3)"
    assert notes(found)[0] == f"Missing: {DIVERGED}."


def test_the_one_run_left_of_three_has_no_deviation():
    block = block_of(cell("standard", SEEDS))
    rows = [lost(seed, "diverged", "diverged in epoch 1, step 0 (ce=inf)") for seed in SEEDS[1:]]
    assert shown(only(tabulate(block, row("s0", 0.7), *rows))) == "70.00 (n = 1 of 3)"


def test_a_cell_whose_runs_are_all_blocked_says_none_and_by_what():
    block = block_of(cell("standard", SEEDS), cell("soteacher", ["t0"]))
    rows = [lost(seed, "blocked", f"blocked by teacher{seed[1]}") for seed in SEEDS]
    found = tabulate(block, *rows, row("t0", 0.7))
    assert shown(found.iloc[0]) == "none (n = 0 of 3)"
    assert "Missing: blocked by teacher0; blocked by teacher1; blocked by teacher2." in notes(found)
    assert shown(found.iloc[1]) == "70.00"


def test_a_table_with_no_result_at_all_can_be_printed_and_names_no_machine():
    block = block_of(cell("standard", ["s0"]))
    found = tabulate(block, lost("s0", "blocked", "blocked by t0"))
    assert "none (n = 0 of 1)" in to_markdown(block, found)
    assert "none (n = 0 of 1)" in to_latex(block, found)
    assert not any("Trained on" in note for note in notes(found))


def test_a_cell_that_never_has_runs_has_a_dash_and_no_seeds():
    block = block_of(cell("alone", [], TEACHER, role=""), cell("standard", ["s0", "s1"], TEACHER))
    found = tabulate(block, row("s0", 0.76), row("s1", 0.77))
    assert [shown(found.iloc[n]) for n in (0, 1)] == ["–", "76.50 ± 0.71"]
    assert "over n = 2 seeds" in to_markdown(block, found)
    assert report_of(found).run_values(found.iloc[0]) == []
    assert not any("Missing" in note for note in notes(found))


def test_an_oracle_has_no_machine_that_trained_it():
    untrained = row("o0", 1.0, device="", threads=0, torch="")
    both = tabulate(block_of(cell("a", ["o0"]), cell("b", ["s0"])), untrained, row("s0", 0.7))
    [machines] = [note for note in notes(both) if note.startswith("Trained on")]
    assert machines.count("thread") == 1 and "A CPU" in machines
    alone = tabulate(block_of(cell("a", ["o0"])), untrained)
    assert not any("Trained on" in note for note in notes(alone))


# the paper's values


def test_the_paper_s_value_and_the_difference_stand_only_where_the_runs_are_the_paper_s():
    block = block_of(
        cell("standard", ["s0", "s1"], TEACHER, papers=True),
        cell("soteacher", ["t0", "t1"], TEACHER, papers=False),
    )
    rows = [row("s0", 0.76), row("s1", 0.77), row("t0", 0.74), row("t1", 0.75)]
    found = tabulate(block, *rows)
    ours, other = found.iloc[0], found.iloc[1]
    assert (ours["paper_mean"], ours["paper_sd"]) == (76.38, 0.13)
    assert ours["difference"] == pytest.approx(76.5 - 76.38)
    test = stats.ttest_ind_from_stats(76.5, 0.5**0.5, 2, 76.38, 0.13, 3, equal_var=False)
    assert ours["difference_p"] == pytest.approx(test.pvalue)
    assert ours["difference_low"] < 0 < ours["difference_high"]
    assert shown(ours) == "76.50 ± 0.71 (paper 76.38 ± 0.13, +0.12, p = 0.85)"
    assert other[["paper_mean", "paper_sd", "difference"]].isna().all()
    assert shown(other) == "74.50 ± 0.71"


def test_the_paper_s_calibration_stands_with_three_decimals():
    block = block_of(
        cell("wrn_40_2 standard", ["s0"], "ece", "ece", papers=True, role="teacher"),
        name="table3",
    )
    found = only(tabulate(block, row("s0", 0.7, ece=0.1)))
    assert shown(found) == "0.100 (paper 0.113 ± 0.003, -0.013)"
    assert found["difference"] == pytest.approx(-0.013)


def test_the_paper_s_value_stands_beside_an_incomplete_cell_with_what_is_missing():
    block = block_of(cell("standard", SEEDS, TEACHER, papers=True))
    rows = [row("s0", 0.76), row("s1", 0.77), lost("s2", "diverged", "diverged")]
    found = only(tabulate(block, *rows))
    assert shown(found) == "76.50 ± 0.71 (paper 76.38 ± 0.13, +0.12, p = 0.85) (n = 2 of 3)"


@pytest.mark.parametrize(
    ("table", "name", "column"),
    [
        ("ours", "standard", TEACHER),
        ("table1", "our_method", TEACHER),
        ("table1", "standard", "wrn_16_2/wrn_16_1 teacher.top1"),
    ],
)
def test_what_the_paper_does_not_print_has_no_value_of_the_paper(table, name, column):
    block = block_of(cell(name, ["s0"], column, papers=True), name=table)
    found = tabulate(block, row("s0", 0.7))
    assert np.isnan(only(found)["paper_mean"])
    assert paper_note(found) == ""  # its runs are the paper's own experiment
    assert "paper" not in to_markdown(block, found)


def test_a_table_with_some_cells_of_the_paper_s_experiment_says_how_the_others_differ():
    block = block_of(
        cell("standard", ["s0"], TEACHER, papers=True),
        cell("ours", ["t0"]),
        deviations=DEVIATIONS,
    )
    found = tabulate(block, row("s0", 0.76), row("t0", 0.7))
    assert (
        "\nSome cells are not the paper's experiment, so the paper's value is not shown with them: "
        "batch 32 (paper: 64); method ours (not in the paper).\n"
    ) in to_markdown(block, found)
    assert list(found["papers"]) == [True, False]


def test_a_table_without_any_cell_of_the_paper_s_experiment_says_how_it_differs():
    block = block_of(cell("standard", ["s0"]), cell("soteacher", ["t0"]), deviations=DEVIATIONS)
    found = tabulate(block, row("s0", 0.7), row("t0", 0.7))
    assert (
        "\nNot the paper's experiment: batch 32 (paper: 64); method ours (not in the paper).\n"
    ) in to_markdown(block, found)


# measures that say nothing


@pytest.mark.parametrize("classes", [2, 4, 5])
def test_top_5_of_a_few_classes_is_shown_with_a_note_that_it_says_nothing(classes):
    column = f"{PAIR} student.top5"
    block = block_of(cell("standard", ["few/s0", "few/s1"], column, "top5"))
    found = tabulate(block, *(row(run, 0.5, top5=1, classes=classes) for run in block["runs"]))
    note = (
        "Top-5 accuracy on few is 100 % for any network, because the data set has only "
        f"{classes} classes."
    )
    assert notes(found)[0] == note
    assert note in to_markdown(block, found)
    assert note.replace("%", r"\%") in to_latex(block, found)


def test_top_5_of_more_classes_and_other_measures_have_no_such_note():
    block = block_of(
        cell("standard", ["d/s0"], f"{PAIR} student.top5", "top5"), cell("standard", ["few/s0"])
    )
    rows = row("d/s0", 0.5, top5=1, classes=6), row("few/s0", 1, top5=1, classes=2)
    assert notes(tabulate(block, *rows)) == [f"Trained on {ONE}."]


def test_top_5_without_a_finished_run_has_no_such_note():
    block = block_of(cell("standard", ["few/s0"], f"{PAIR} student.top5", "top5"))
    found = tabulate(block, lost("few/s0", "diverged", DIVERGED))
    assert notes(found) == [f"Missing: {DIVERGED}."]


# machines

ONE = "A CPU (1 thread), float32, torch 2.0.1, soteacher 1.2.3"


def test_the_machine_of_a_table_is_told_once():
    block = block_of(cell("standard", SEEDS), cell("soteacher", ["t0"]))
    found = tabulate(block, *(row(run, 0.7) for run in block["runs"]))
    assert set(found["trained_on"]) == {ONE}
    assert notes(found)[-1] == f"Trained on {ONE}."


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("device", "A GPU", "A GPU (1 thread), float32, torch 2.0.1, soteacher 1.2.3"),
        ("capability", "AVX2", "A CPU (AVX2, 1 thread), float32, torch 2.0.1, soteacher 1.2.3"),
        ("threads", 4, "A CPU (4 threads), float32, torch 2.0.1, soteacher 1.2.3"),
        ("precision", "tf32", "A CPU (1 thread), tf32, torch 2.0.1, soteacher 1.2.3"),
        ("torch", "2.9.0", "A CPU (1 thread), float32, torch 2.9.0, soteacher 1.2.3"),
        ("soteacher", "2.0.0", "A CPU (1 thread), float32, torch 2.0.1, soteacher 2.0.0"),
    ],
)
@pytest.mark.parametrize("runs", [["s0", "s1"], ["s0"]], ids=["in a cell", "between cells"])
def test_results_of_unlike_machines_are_told(key, value, text, runs):
    cells = [cell("standard", runs)] + [cell("soteacher", ["s1"])] * (len(runs) == 1)
    block = block_of(*cells)
    found = tabulate(block, row("s0", 0.7), row("s1", 0.7, **{key: value}))
    assert MACHINE.keys() >= {key}
    mixed = ["The runs differ in precision: float32, tf32."] if key == "precision" else []
    assert notes(found) == [f"Trained on {ONE}; and on {text}.", *mixed]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_the_precision_of_all_runs_is_told_with_their_machine(precision):
    block = block_of(cell("standard", SEEDS))
    found = tabulate(block, *(row(run, 0.7, precision=precision) for run in block["runs"]))
    assert notes(found) == [f"Trained on {ONE.replace('float32', precision)}."]


def test_a_run_without_a_result_tells_no_machine():
    block = block_of(cell("standard", ["s0", "s1"]))
    found = tabulate(block, row("s0", 0.7), lost("s1", "diverged", DIVERGED))
    assert only(found)["trained_on"] == ONE


# the grid


def test_rows_and_columns_stand_in_the_order_of_the_study_under_the_paper_s_names():
    columns = [STUDENT, f"{PAIR} teacher.top5"]
    cells = [
        cell(name, [f"{name}{number}"], column)
        for name in ("standard", "no_cr", "soteacher", "another")
        for number, column in enumerate(columns)
    ]
    block = block_of(*cells)
    found = grid(tabulate(block, *(row(run, 0.7) for run in block["runs"])))
    assert list(found.index) == ["Standard", "no-CR", "SoTeacher", "another"]
    assert list(found.columns) == [
        "WRN40-2/WRN40-1 Student accuracy (%)",
        "WRN40-2/WRN40-1 Teacher Top-5 accuracy (%)",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "column", "printed"),
    [
        ("calibration", "wrn_40_2 soteacher", "nll_scaled", ("WRN40-2 SoTeacher", "NLL, scaled")),
        (
            "accuracy",
            "resnet34 standard",
            "resnet32x4/shufflenet_v2 student.top1",
            ("ResNet34 Standard", "ResNet32x4/ShuffleNetV2 Student accuracy (%)"),
        ),
        (
            "truth_distance",
            "no_lr kd",
            "cifar100 wrn_40_2 teacher.train_distance_l1",
            ("no-LR KD", "cifar100 WRN40-2 Train, ℓ1"),
        ),
        (
            "truth_distance",
            "no_lr kd",
            f"{PAIR} student.train_excess_nll_hardest",
            ("no-LR KD", "WRN40-2/WRN40-1 Student, train, excess NLL, hardest tenth"),
        ),
        (
            "agreement",
            "standard",
            f"{PAIR} student.agreement",
            ("Standard", "WRN40-2/WRN40-1 Agreement (%)"),
        ),
    ],
)
def test_names_are_printed_word_by_word(kind, name, column, printed):
    found = grid(tabulate(block_of(cell(name, ["s0"], column), kind=kind), row("s0", 0.7)))
    assert (found.index[0], found.columns[0]) == printed


@pytest.fixture
def mixed():
    """A block with every kind of cell, and the measures of its runs."""
    block = block_of(
        cell("standard", ["s0", "s1"], TEACHER, papers=True, role="teacher"),
        cell("standard", ["a0"]),
        cell("soteacher", ["t0", "t1", "t2"], TEACHER, role="teacher"),
        cell("soteacher", ["b0"]),
        deviations=DEVIATIONS,
    )
    rows = [row(run, share) for run, share in (("s0", 0.76), ("s1", 0.77), ("a0", 0.5))]
    rows += [row("t0", 0.74), lost("t1", "diverged", DIVERGED), row("t2", 0.75)]
    return block, [*rows, lost("b0", "blocked", "blocked by t1")]


TEXTS = [
    "76.50 ± 0.71 (paper 76.38 ± 0.13, +0.12, p = 0.85)",
    "50.00",
    "74.50 ± 0.71 (n = 2 of 3)",
    "none (n = 0 of 1)",
]


def test_markdown_has_every_cell_s_text_the_heading_and_all_notes(mixed):
    block, rows = mixed
    table = tabulate(block, *rows)
    lines = to_markdown(block, table).splitlines()
    cells = [part.strip() for line in lines if line.startswith("|") for part in line.split("|")]
    assert all(cells.count(text) == 1 for text in TEXTS)
    assert lines[0] == "## Table 1"
    assert {heading(block, table), *notes(table)} <= set(lines)
    assert len(notes(table)) == 4  # two are missing; the test; the machine
    assert any(line.startswith("Some cells are not the paper's experiment") for line in lines)


# LaTeX


def rows_of(tex):
    """The rows of the tabular, as lists of cells."""
    body = tex.partition("\\toprule")[2].partition("\\bottomrule")[0]
    lines = [line.removesuffix("\\\\") for line in body.splitlines() if line.endswith("\\\\")]
    return [[part.strip() for part in re.split(r"(?<!\\)&", line)] for line in lines]


def assert_whole(tex):
    """Environments and braces are closed in turn, and no special character stands unescaped."""
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", tex):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    bare = re.sub(r"\\[\\&%$#_{}]", "", tex)
    depth = 0
    for character in bare:
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    said = re.sub(r"\\label\{[^}]*\}|\$\\(pm|lambda|ell)\$", "", bare)
    outside = re.sub(r"(?s)\\begin\{tabular\}.*\\end\{tabular\}", "", said)
    assert set("%$#_^~") & set(said) == set()
    assert "&" not in outside


def test_latex_has_a_caption_a_label_every_cell_and_all_notes(mixed):
    block, rows = mixed
    table = tabulate(block, *rows)
    tex = to_latex(block, table)
    assert_whole(tex)
    assert "\\caption{Test accuracy in percent; mean $\\pm$ sample standard deviation" in tex
    assert "\\label{tab:table1}" in tex
    cells = [cell for line in rows_of(tex) for cell in line]
    assert all(cells.count(text.replace("±", "$\\pm$")) == 1 for text in TEXTS)
    for note in notes(table):
        assert note.replace("_", "\\_") in tex


def test_latex_has_a_head_for_each_pair_over_its_columns():
    pairs = (PAIR, "wrn_40_2/wrn_16_2")
    columns = [f"{pair} {role}.top1" for pair in pairs for role in ("student", "teacher")]
    cells = [
        cell(name, [f"{name}{number}"], column)
        for name in ("standard", "soteacher")
        for number, column in enumerate(columns)
    ]
    block = block_of(*cells)
    tex = to_latex(block, tabulate(block, *(row(run, 0.7) for run in block["runs"])))
    assert_whole(tex)
    assert "\\begin{tabular}{lrrrr}" in tex
    assert rows_of(tex) == [
        ["", "\\multicolumn{2}{c}{WRN40-2/WRN40-1}", "\\multicolumn{2}{c}{WRN40-2/WRN16-2}"],
        ["", *["Student accuracy (\\%)", "Teacher accuracy (\\%)"] * 2],
        ["Standard", *["70.00"] * 4],
        ["SoTeacher", *["70.00"] * 4],
    ]


def test_latex_of_columns_that_belong_to_no_pair_has_one_head():
    cells = [cell("wrn_40_2 standard", ["s0"], name, name) for name in ("ece", "nll_scaled")]
    block = block_of(*cells, name="table3", kind="calibration")
    tex = to_latex(block, tabulate(block, row("s0", 0.7, ece=0.1, nll_scaled=0.25)))
    assert_whole(tex)
    assert rows_of(tex) == [
        ["", "ECE", "NLL, scaled"],
        ["WRN40-2 Standard", "0.100", "0.250"],
    ]


def test_latex_escapes_what_is_special_there():
    said = ("100 % of a_b & {c} #1", "$x^2$ ~ \\y", "± λ ℓ")
    block = block_of(cell("our_own", ["s0"]), name="our_own", deviations=said)
    tex = to_latex(block, tabulate(block, row("s0", 0.7)))
    assert_whole(tex)
    assert "our\\_own & 70.00" in tex
    assert (
        "100 \\% of a\\_b \\& \\{c\\} \\#1; "
        "\\$x\\textasciicircum{}2\\$ \\textasciitilde{} \\textbackslash{}y; "
        "$\\pm$ $\\lambda$ $\\ell$."
    ) in tex


# stale measures


def test_measures_are_read_by_run_from_whatever_files_hold_them(write_measures):
    paths = write_measures([row("s1", 0.2), row("s0", 0.1)], [row("unasked", 0.9), row("s2", 0.3)])
    found = read_measures(paths, {seed: f"hash of {seed}" for seed in SEEDS})
    assert list(found.index) == SEEDS
    assert list(found["top1"].astype(float)) == [0.1, 0.2, 0.3]


def test_measures_of_other_settings_are_refused_by_the_run_s_name(write_measures):
    paths = write_measures([row("s0", 0.1), row("s1", 0.2, spec_sha256="older")])
    with pytest.raises(UserError, match="measures of 's1' have other settings"):
        read_measures(paths, {"s0": "hash of s0", "s1": "hash of s1"})


def test_measures_without_a_planned_run_are_refused_by_its_name(write_measures):
    paths = write_measures([row("s0", 0.1)], [row("s1", 0.1)])
    with pytest.raises(UserError, match="measures lack 's2', which the study needs"):
        read_measures(paths, {seed: f"hash of {seed}" for seed in SEEDS})


# the command


def table_command(block, measures, folder):
    """Make a table's files in a folder, named by the table; return the exit code."""
    stem = folder / block["name"]
    said = Request.of(folder / "asked", "table", block).write()
    listed = Request.of(folder / "asked", "measures", [str(path) for path in measures]).write()
    outputs = ["--out", f"{stem}.csv", "--markdown", f"{stem}.md", "--latex", f"{stem}.tex"]
    try:
        cli.main(["table", "--block", said, "--measures", listed, *outputs])
    except SystemExit as ended:
        return ended.code or 0
    return 0


def test_the_table_command_refuses_stale_measures_with_exit_code_2_and_writes_nothing(
    write_measures, tmp_path
):
    paths = write_measures([row("s0", 0.1, spec_sha256="older")])
    assert table_command(block_of(cell("standard", ["s0"])), paths, tmp_path) == 2
    lists = {path.with_suffix(".sha256") for path in paths}
    assert {path for path in tmp_path.iterdir() if path.is_file()} == {*paths} | lists


def test_measures_that_were_edited_are_refused_by_the_table_command(
    write_measures, tmp_path, caplog
):
    [path] = write_measures([row("s0", 0.1)])
    path.write_text(path.read_text().replace("0.1", "0.9"))
    assert table_command(block_of(cell("standard", ["s0"])), [path], tmp_path) == 2
    assert f"{path} has changed since it was made" in caplog.text
    assert not (tmp_path / "table1.csv").exists()
    path.with_suffix(".sha256").unlink()
    assert table_command(block_of(cell("standard", ["s0"])), [path], tmp_path) == 2


def test_a_table_that_was_edited_is_not_read_again(mixed, write_measures, tmp_path):
    block, rows = mixed
    assert table_command(block, write_measures(rows), tmp_path) == 0
    table = tmp_path / "table1.csv"
    table.write_text(table.read_text().replace("76.5", "77.5"))
    with pytest.raises(Damaged, match="has changed since it was made"):
        read_table(table)


def test_the_table_command_writes_what_the_measures_say(mixed, write_measures, tmp_path):
    block, rows = mixed
    assert table_command(block, write_measures(rows[:3], rows[3:]), tmp_path) == 0
    markdown, tex = ((tmp_path / f"table1.{kind}").read_text() for kind in ("md", "tex"))
    assert all(text in markdown and text.replace("±", "$\\pm$") in tex for text in TEXTS)
    found = pd.read_csv(tmp_path / "table1.csv").set_index(["row", "column"])
    papers = found.loc[("standard", TEACHER)]
    assert (papers["mean"], papers["n"], papers["n_planned"]) == (76.5, 2, 2)
    assert papers["best_mean"] == 76.5
    assert papers["paper_mean"] == 76.38
    assert papers["difference"] == pytest.approx(0.12)
    assert papers["runs"] == "s0 s1"
    lacking = found.loc[("soteacher", TEACHER)]
    assert (lacking["n"], lacking["n_planned"]) == (2, 3)
    assert np.isnan(lacking["paper_mean"])
    assert lacking["note"] == DIVERGED
    assert lacking["status"] == "done diverged done"


def test_a_table_is_read_again_as_it_was_made(mixed, write_measures, tmp_path):
    block, rows = mixed
    assert table_command(block, write_measures(rows), tmp_path) == 0
    again = read_table(tmp_path / "table1.csv")
    pd.testing.assert_frame_equal(again, tabulate(block, *rows), check_dtype=False)
    assert to_latex(block, again) == (tmp_path / "table1.tex").read_text()


@pytest.mark.parametrize("name", ["null", "nan", "none"])
def test_a_method_may_have_a_name_that_means_nothing_elsewhere(name, write_measures, tmp_path):
    block = block_of(cell(name, ["s0"]), name="ours")
    assert table_command(block, write_measures([row("s0", 0.7)]), tmp_path) == 0
    assert list(read_table(tmp_path / "ours.csv")["row"]) == [name]
