"""From logits to what is printed: accuracies, tables, and when the paper's numbers may stand."""

import csv
import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from soteacher import cli
from soteacher.errors import UserError
from soteacher.measures.accuracy import top_k
from soteacher.measures.collect import COLUMNS, check_planned, measure
from soteacher.report.page import make_page
from soteacher.report.tables import grid, make_table, notes, read_measures, shown, to_markdown
from soteacher.training.store import RunFolder

PAIR = "wrn_40_2/wrn_40_1"
DISCLAIMER = "These are not the paper's experiments."
FACTS = ["3 teachers & 3 students were trained."]


# measures


def test_top_k_counts_the_images_whose_class_is_among_the_k_largest_logits():
    logits = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [-1.0, -3.0, -2.0]])
    classes = np.array([0, 1, 2, 1])
    assert top_k(logits, classes, 1) == 1 / 4
    assert top_k(logits, classes, 2) == 2 / 4
    assert top_k(logits, classes, 3) == 1


@pytest.mark.parametrize(("own", "places"), [(0, 4), (1, 1), (2, 2), (3, 3)])
def test_among_equal_logits_the_lower_class_comes_first_as_with_argmax(own, places):
    logits, classes = np.array([[5.0, 7.0, 7.0, 7.0]]), np.array([own])
    assert [top_k(logits, classes, k) for k in (1, 2, 3, 4)] == [k >= places for k in (1, 2, 3, 4)]
    assert top_k(logits, classes, 1) == (logits.argmax() == own)


def test_where_all_logits_are_equal_the_lowest_classes_are_right():
    assert top_k(np.zeros((5, 10)), np.arange(5), 5) == 1
    assert top_k(np.zeros((5, 10)), np.arange(5, 10), 5) == 0


def test_more_places_than_classes_make_every_image_right():
    assert top_k(np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0, 1]), 5) == 1


def test_top_k_agrees_with_sorting():
    draw = np.random.Generator(np.random.PCG64(0))
    logits, classes = draw.normal(size=(500, 12)), draw.integers(12, size=500)
    for k in (1, 3, 5):
        largest = np.argsort(-logits, axis=1)[:, :k]
        assert top_k(logits, classes, k) == (largest == classes[:, None]).any(axis=1).mean()


@pytest.fixture
def measured(digits, tmp_path):
    """Measures of a finished run, one that diverged and one whose teacher did."""
    classes = digits.test_classes
    logits = np.zeros((len(classes), 10))
    logits[np.arange(len(classes)), classes] = 1
    logits[:45] = 0
    logits[:45, classes[:45] - 1] = 1  # a tenth is wrong, and zeros tie for the other places
    folder = RunFolder(tmp_path, "f" * 64, "good")
    artifacts = {"test_logits.npy": lambda file: np.save(file, logits)}
    folder.finish("done", artifacts, {"best_test_top1": 0.95})
    where = {"epoch": 3, "step": 7, "terms": {"ce": "nan", "kd": "0.5"}}
    manifest = {
        "runs": {
            "good": {"spec_sha256": "a", "status": "done", "fingerprint": "f" * 64},
            "bad": {"spec_sha256": "b", "status": "diverged", "diverged": where},
            "child": {"spec_sha256": "c", "status": "blocked", "blocked_by": "bad"},
        }
    }
    rows = {row["run"]: row for row in measure(manifest, digits, tmp_path)}
    return manifest, folder, rows, logits


def test_a_finished_run_is_measured_from_its_logits(measured, digits):
    _, _, rows, logits = measured
    assert set(rows["good"]) == set(COLUMNS)
    assert rows["good"]["status"] == "done"
    assert rows["good"]["top1"] == top_k(logits, digits.test_classes, 1) < 1
    assert rows["good"]["top5"] == top_k(logits, digits.test_classes, 5)
    assert rows["good"]["best_top1"] == 0.95
    assert rows["good"]["note"] == ""


def test_runs_without_a_result_have_a_note_and_no_number(measured):
    _, _, rows, _ = measured
    assert rows["bad"]["note"] == "bad: diverged in epoch 3, step 7 (ce=nan, kd=0.5)"
    assert rows["child"]["note"] == "child: blocked by bad"
    for run in ("bad", "child"):
        assert (rows[run]["top1"], rows[run]["top5"], rows[run]["best_top1"]) == ("", "", "")


def test_changed_logits_are_not_measured(measured, digits, tmp_path):
    manifest, folder, _, _ = measured
    path = folder.path / "test_logits.npy"
    np.save(path, np.load(path) + 1)
    with pytest.raises(UserError, match="good has changed since it was recorded"):
        measure(manifest, digits, tmp_path)


def test_a_manifest_is_refused_by_the_run_that_it_lacks_or_holds_with_other_settings(measured):
    manifest = measured[0]
    check_planned(manifest, {"good": "a", "child": "c"})
    with pytest.raises(UserError, match="does not hold 'another'"):
        check_planned(manifest, {"good": "a", "another": "d"})
    with pytest.raises(UserError, match="holds 'child' with other settings"):
        check_planned(manifest, {"good": "a", "child": "d"})


# tables


def row(run, top1, status="done", note="", spec_sha256=None):
    """One line of a file of measures."""
    numbers = {"top1": top1, "top5": top1, "best_top1": top1}
    return (
        dict.fromkeys(COLUMNS, "")
        | numbers
        | {
            "run": run,
            "spec_sha256": spec_sha256 or f"hash of {run}",
            "status": status,
            "note": note,
        }
    )


def lost(run, status, note):
    return row(run, "", status, note)


def cell(name, runs, column=f"{PAIR} student.top1", papers=False, measured="top1"):
    return {"row": name, "column": column, "measure": measured, "runs": runs, "papers": papers}


def block_of(*cells, table="table1"):
    """What a table is made of besides measures."""
    return {
        "table": table,
        "title": "Test accuracy in percent.",
        "disclaimer": DISCLAIMER,
        "cells": list(cells),
        "runs": {run: f"hash of {run}" for made in cells for run in made["runs"]},
    }


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
            paths.append(path)
        return paths

    return write


@pytest.fixture
def tabulate(write_measures):
    """The table of a block of cells and the measures of its runs."""

    def make(block, *rows):
        return make_table(block, read_measures(write_measures(rows), block["runs"]))

    return make


def only(table):
    assert len(table) == 1
    return table.iloc[0]


SEEDS = ["s0", "s1", "s2"]


def test_a_cell_is_mean_sample_deviation_and_number_of_its_runs_in_percent(tabulate):
    block = block_of(cell("standard", SEEDS))
    found = only(tabulate(block, row("s0", 0.70), row("s1", 0.72), row("s2", 0.77)))
    assert found["mean"] == pytest.approx(73)
    assert found["sd"] == pytest.approx(np.sqrt((9 + 1 + 16) / 2))  # n - 1 = 2
    assert (found["n"], found["n_planned"]) == (3, 3)
    assert shown(found) == "73.00 ± 3.61"


def test_a_cell_has_the_measure_that_it_names(tabulate):
    block = block_of(
        cell("standard", ["s0"], measured="top1"),
        cell("standard", ["s0"], column=f"{PAIR} student.top5", measured="top5"),
    )
    both = row("s0", 0.5) | {"top5": 0.875, "best_top1": 0.6}
    assert list(tabulate(block, both)["mean"]) == [50, 87.5]


def test_one_seed_has_no_deviation(tabulate):
    block = block_of(cell("standard", ["s0"]))
    found = tabulate(block, row("s0", 0.7))
    assert shown(only(found)) == "70.00"
    assert "±" not in to_markdown(block, found)
    assert "One seed (n = 1)" in to_markdown(block, found)


def test_a_diverged_run_is_left_out_and_told(tabulate):
    block = block_of(cell("standard", SEEDS))
    note = "bad: diverged in epoch 3, step 7 (ce=nan)"
    found = tabulate(block, row("s0", 0.7), lost("s1", "diverged", note), row("s2", 0.8))
    assert shown(only(found)) == "75.00 ± 7.07 (n = 2 of 3)"
    assert f"Missing: {note}." in notes(block, found)


def test_the_one_run_left_of_three_has_no_deviation(tabulate):
    block = block_of(cell("standard", SEEDS))
    rows = [lost(seed, "diverged", "diverged in epoch 1, step 0 (ce=inf)") for seed in SEEDS[1:]]
    assert shown(only(tabulate(block, row("s0", 0.7), *rows))) == "70.00 (n = 1 of 3)"


def test_a_cell_whose_runs_are_all_blocked_says_none_and_by_what(tabulate):
    block = block_of(cell("standard", SEEDS), cell("soteacher", ["t0"]))
    rows = [lost(seed, "blocked", f"blocked by teacher{seed[1]}") for seed in SEEDS]
    found = tabulate(block, *rows, row("t0", 0.7))
    assert shown(found.iloc[0]) == "none (n = 0 of 3)"
    assert "Missing: blocked by teacher0; blocked by teacher1; blocked by teacher2." in notes(
        block, found
    )
    assert shown(found.iloc[1]) == "70.00"


def test_a_table_with_no_result_at_all_can_be_printed(tabulate):
    block = block_of(cell("standard", ["s0"]))
    found = tabulate(block, lost("s0", "blocked", "blocked by t0"))
    assert "none (n = 0 of 1)" in to_markdown(block, found)


def test_the_paper_s_value_and_the_difference_stand_only_where_the_runs_are_the_paper_s(tabulate):
    column = f"{PAIR} teacher.top1"
    block = block_of(
        cell("standard", ["s0", "s1"], column, papers=True),
        cell("soteacher", ["t0", "t1"], column, papers=False),
    )
    rows = [row("s0", 0.76), row("s1", 0.77), row("t0", 0.74), row("t1", 0.75)]
    found = tabulate(block, *rows)
    ours, other = found.iloc[0], found.iloc[1]
    assert (ours["paper_mean"], ours["paper_sd"]) == (76.38, 0.13)
    assert ours["difference"] == pytest.approx(76.5 - 76.38)
    assert shown(ours) == "76.50 ± 0.71 (paper 76.38 ± 0.13)"
    assert other[["paper_mean", "paper_sd", "difference"]].isna().all()
    assert shown(other) == "74.50 ± 0.71"
    assert DISCLAIMER not in notes(block, found)


def test_the_paper_s_value_stands_beside_an_incomplete_cell_with_what_is_missing(tabulate):
    block = block_of(cell("standard", SEEDS, f"{PAIR} teacher.top1", papers=True))
    rows = [row("s0", 0.76), row("s1", 0.77), lost("s2", "diverged", "diverged")]
    found = only(tabulate(block, *rows))
    assert shown(found) == "76.50 ± 0.71 (paper 76.38 ± 0.13) (n = 2 of 3)"


@pytest.mark.parametrize(
    ("table", "name", "column"),
    [
        ("ours", "standard", f"{PAIR} teacher.top1"),
        ("table1", "our_method", f"{PAIR} teacher.top1"),
        ("table1", "standard", "wrn_16_2/wrn_16_1 teacher.top1"),
    ],
)
def test_what_the_paper_does_not_print_has_no_value_of_the_paper(tabulate, table, name, column):
    block = block_of(cell(name, ["s0"], column, papers=True), table=table)
    found = tabulate(block, row("s0", 0.7))
    assert np.isnan(only(found)["paper_mean"])
    assert DISCLAIMER not in notes(block, found)  # its runs are the paper's own experiment


def test_a_table_with_some_cells_of_the_paper_s_experiment_says_which(tabulate):
    block = block_of(
        cell("standard", ["s0"], f"{PAIR} teacher.top1", papers=True), cell("ours", ["t0"])
    )
    found = tabulate(block, row("s0", 0.76), row("t0", 0.7))
    assert "Cells without the paper's value" in notes(block, found)[-1]
    assert list(found["papers"]) == [True, False]


def test_a_round_value_keeps_its_decimals(tabulate):
    block = block_of(cell("standard", ["s0"]), cell("soteacher", ["t0"]))
    text = to_markdown(block, tabulate(block, row("s0", 0.16), row("t0", 0.1622)))
    assert "| 16.00" in text and "| 16.22" in text


def test_a_table_without_any_value_of_the_paper_says_whose_experiment_it_is(tabulate):
    block = block_of(cell("standard", ["s0"]), cell("soteacher", ["t0"]))
    found = tabulate(block, row("s0", 0.7), row("t0", 0.7))
    assert notes(block, found)[-1] == DISCLAIMER
    assert to_markdown(block, found).rstrip().endswith(DISCLAIMER)


def test_rows_and_columns_stand_in_the_order_of_the_study_under_the_paper_s_names(tabulate):
    columns = [f"{PAIR} student.top1", f"{PAIR} teacher.top5"]
    cells = [
        cell(name, [f"{name}{column}"], column)
        for name in ("standard", "no_cr", "soteacher", "another")
        for column in columns
    ]
    block = block_of(*cells)
    found = grid(tabulate(block, *(row(run, 0.7) for run in block["runs"])))
    assert list(found.index) == ["Standard", "no-CR", "SoTeacher", "another"]
    assert list(found.columns) == ["WRN40-2/WRN40-1 Student", "WRN40-2/WRN40-1 Teacher (Top-5)"]


# stale measures


def test_measures_are_read_by_run_from_whatever_files_hold_them(write_measures):
    paths = write_measures([row("s1", 0.2), row("s0", 0.1)], [row("unasked", 0.9), row("s2", 0.3)])
    found = read_measures(paths, {seed: f"hash of {seed}" for seed in SEEDS})
    assert list(found.index) == SEEDS
    assert list(found["top1"].astype(float)) == [0.1, 0.2, 0.3]


def test_measures_of_other_settings_are_refused_by_the_run_s_name(write_measures):
    paths = write_measures([row("s0", 0.1), row("s1", 0.2, spec_sha256="older")])
    with pytest.raises(UserError, match="measures of 's1' are of other settings"):
        read_measures(paths, {"s0": "hash of s0", "s1": "hash of s1"})


def test_measures_without_a_planned_run_are_refused_by_its_name(write_measures):
    paths = write_measures([row("s0", 0.1)], [row("s1", 0.1)])
    with pytest.raises(UserError, match="measures do not hold 's2', which the table needs"):
        read_measures(paths, {seed: f"hash of {seed}" for seed in SEEDS})


def test_the_table_command_refuses_stale_measures_with_exit_code_2_and_writes_nothing(
    write_measures, tmp_path
):
    paths = write_measures([row("s0", 0.1, spec_sha256="older")])
    assert table_command(block_of(cell("standard", ["s0"])), paths, tmp_path) == 2
    assert list(tmp_path.iterdir()) == paths


# Markdown and page


def command(*arguments):
    """Run a sub-command; return its exit code."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as ended:
        return ended.code or 0
    return 0


def table_command(block, measures, folder):
    """Make a table's files in a folder, named by the table; return the exit code."""
    block_text, stem = json.dumps(block), folder / block["table"]
    outputs = ["--out", f"{stem}.csv", "--markdown", f"{stem}.md"]
    return command("table", "--block", block_text, "--measures", *measures, *outputs)


def page_command(blocks, folder):
    """Make a page of tables in a folder; return what stands in it."""
    named = {block["table"]: block for block in blocks}
    summary = json.dumps({"study": "ours", "facts": FACTS, "tables": named})
    paths = [folder / f"{name}.csv" for name in named]
    out = folder / "page.html"
    assert command("page", "--summary", summary, "--tables", *paths, "--out", out) == 0
    return Reader(out.read_text())


class Reader(HTMLParser):
    """What stands in a page, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.loaded, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def mixed():
    """Two tables with every kind of cell, and the measures of their runs."""
    column = f"{PAIR} teacher.top1"
    first = block_of(
        cell("standard", ["s0", "s1"], column, papers=True),
        cell("soteacher", ["t0", "t1", "t2"], column),
        cell("standard", ["a0"]),
        cell("soteacher", ["b0"]),
    )
    second = block_of(cell("standard", ["c0", "c1"]), table="<other>")
    note = "bad: diverged in epoch 3, step 7 (ce=nan)"
    rows = [row(run, share) for run, share in (("s0", 0.76), ("s1", 0.77), ("a0", 0.5))]
    rows += [row("t0", 0.74), lost("t1", "diverged", note), row("t2", 0.75)]
    rows += [lost("b0", "blocked", "blocked by <t1>"), row("c0", 0.90), row("c1", 0.91)]
    return [first, second], rows


TEXTS = [
    [
        "76.50 ± 0.71 (paper 76.38 ± 0.13)",
        "74.50 ± 0.71 (n = 2 of 3)",
        "50.00",
        "none (n = 0 of 1)",
    ],
    ["90.50 ± 0.71"],
]


def test_markdown_has_every_cell_s_text_and_all_notes(mixed, tabulate):
    blocks, rows = mixed
    for block, texts in zip(blocks, TEXTS, strict=True):
        table = tabulate(block, *rows)
        lines = to_markdown(block, table).splitlines()
        cells = [part.strip() for line in lines if line.startswith("|") for part in line.split("|")]
        assert all(cells.count(text) == 1 for text in texts)
        assert all(note in lines for note in notes(block, table))


def test_the_page_has_every_cell_s_text_and_all_notes_and_loads_nothing(mixed, tabulate):
    blocks, rows = mixed
    tables = {block["table"]: tabulate(block, *rows) for block in blocks}
    summary = {
        "study": "a <study>",
        "facts": FACTS,
        "tables": {block["table"]: block for block in blocks},
    }
    page = Reader(make_page(summary, tables))
    for block, texts in zip(blocks, TEXTS, strict=True):
        assert all(page.texts.count(text) >= 1 for text in texts)
        assert all(note in page.texts for note in notes(block, tables[block["table"]]))
    assert "“a <study>”" in "".join(page.texts)
    assert set(FACTS) <= set(page.texts)
    assert {"study", "t1", "other"}.isdisjoint(page.tags)
    assert page.loaded == []
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)


def test_the_commands_print_the_same_texts_into_markdown_and_page(mixed, write_measures, tmp_path):
    """The page is made of the table's CSV, which must hold what its texts are made of."""
    blocks, rows = mixed
    blocks[1]["table"] = "other"
    measures = write_measures(rows)
    for block in blocks:
        assert table_command(block, measures, tmp_path) == 0
    page = page_command(blocks, tmp_path)
    for block, texts in zip(blocks, TEXTS, strict=True):
        markdown = (tmp_path / f"{block['table']}.md").read_text()
        assert all(text in markdown and text in page.texts for text in texts)


@pytest.mark.parametrize("shares", [(0.9004, 0.9007), (0.9006, 0.9009)])
def test_markdown_and_page_round_a_number_alike(shares, write_measures, tmp_path):
    block = block_of(cell("standard", ["s0", "s1"]))
    measures = write_measures([row("s0", shares[0]), row("s1", shares[1])])
    assert table_command(block, measures, tmp_path) == 0
    printed = next(text for text in page_command([block], tmp_path).texts if "±" in text)
    assert printed in (tmp_path / "table1.md").read_text()


def test_the_csv_of_a_table_has_its_numbers(mixed, write_measures, tmp_path):
    blocks, rows = mixed
    assert table_command(blocks[0], write_measures(rows), tmp_path) == 0
    found = pd.read_csv(tmp_path / "table1.csv").set_index(["row", "column"])
    papers = found.loc[("standard", f"{PAIR} teacher.top1")]
    assert (papers["mean"], papers["n"], papers["n_planned"]) == (76.5, 2, 2)
    assert papers["paper_mean"] == 76.38
    assert papers["difference"] == pytest.approx(0.12)
    lacking = found.loc[("soteacher", f"{PAIR} teacher.top1")]
    assert (lacking["n"], lacking["n_planned"]) == (2, 3)
    assert np.isnan(lacking["paper_mean"])
    assert lacking["note"] == "bad: diverged in epoch 3, step 7 (ce=nan)"
