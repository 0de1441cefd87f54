"""Tables 5 and 6: distillers down, teacher methods across; and what such a study may not say."""

from __future__ import annotations

import copy
import re

import pandas as pd
import pytest
from made_tables import paper_note, row

from soteacher.core import registry
from soteacher.core.errors import UserError
from soteacher.core.hash_list import write_hash_list
from soteacher.report.grid import grid
from soteacher.report.latex import to_latex
from soteacher.report.markdown import to_markdown
from soteacher.report.page import make_page
from soteacher.report.tables import make_table, read_table
from soteacher.report.tables.base import Inputs
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.summary import block_record, page_summary

PAIR = "wrn_10_2/wrn_10_1"
METHODS = ["standard", "soteacher"]
STUDY = {
    "study": "small",
    "seeds": [0, 1],
    "data": {"digits": {"source": "digits"}},
    "recipes": {"short": {"epochs": 4, "batch": 8, "lr": 0.1, "decay_at": [], "keep_every": 2}},
    "pairs": {PAIR: {"data": "digits", "teacher_recipe": "short", "student_recipe": "short"}},
    "teachers": {"standard": {}, "soteacher": {"lipschitz": {}, "table5": "soteacher"}},
    "distillers": {
        "at": {},
        "heavy": {"method": "at", "weight": 9},
        "odd": {"method": "sp", "weight": {"standard": 1, "soteacher": 2.5}},
        "ab": {},
        "sskd": {},
        "rco": {"anchors": 2},
    },
    "tables": {
        "table5": {"kind": "weights", "teachers": METHODS, "distillers": ["at", "heavy", "ab"]},
        "table6": {"kind": "distillers", "teachers": METHODS, "distillers": ["at", "sskd", "rco"]},
    },
}


@pytest.fixture
def study():
    return copy.deepcopy(STUDY)


def made(block):
    """A table that needs no run."""
    return make_table(block, Inputs(lambda: pytest.fail("it needs no measures")))


def refusal(study):
    with pytest.raises(UserError) as refused:
        expand(read(study))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_table_5_has_the_weights_that_students_get_beside_the_paper_s(study):
    block = block_record(expand(read(study)), "table5")
    assert block["runs"] == {} and "cells" not in block
    wide = grid(made(block))
    assert wide.to_dict("index") == {
        "AT": {"Standard": "1000 (paper 1000)", "SoTeacher": "500 (paper 500)"},
        "heavy": {"Standard": "9 (paper 1000)", "SoTeacher": "9 (paper 500)"},
        "AB": {"Standard": "1 (paper 1)", "SoTeacher": "0.5 (paper 0.5)"},
    }
    text = to_markdown(block, made(block))
    assert "AB: this weight has no effect" in text and "Trained on" not in text
    assert to_latex(block, made(block)).count(r"\\") == 4


def test_table_5_is_read_back_as_it_was_written(study, tmp_path):
    table = made(block_record(expand(read(study)), "table5"))
    table.to_csv(tmp_path / "table5.csv", index=False)
    write_hash_list(tmp_path / "table5.csv")
    pd.testing.assert_frame_equal(read_table(tmp_path / "table5.csv"), table, check_dtype=False)


def test_table_5_asks_for_no_run_and_stands_on_the_page(study):
    del study["tables"]["table6"]
    plan = expand(read(study))
    assert plan.runs == {}
    page = make_page(page_summary(plan), {"table5": made(block_record(plan, "table5"))}, {})
    text = re.sub("<[^>]*>", "", page)
    assert "1000 (paper 1000)" in text and "The study needs no trained networks" in page


def test_table_6_has_a_row_a_distiller_and_a_column_a_pair_and_teacher_method(study):
    plan = expand(read(study))
    block = block_record(plan, "table6")
    runs = {run: row(run, 0.5 + 0.01 * n) for n, run in enumerate(sorted(block["runs"]))}
    table = make_table(block, Inputs(lambda: pd.DataFrame(runs.values()).set_index("run")))
    wide = grid(table)
    assert list(wide.index) == ["AT", "SSKD", "RCO"]
    assert list(wide.columns) == [f"WRN10-2/WRN10-1 {name}" for name in ("Standard", "SoTeacher")]
    for _, cell in table.iterrows():
        method = cell["column"].split()[1]
        ids = [f"digits/wrn_10_2/{method}/seed{k}/wrn_10_1/{cell['row']}" for k in (0, 1)]
        assert cell["runs"].split() == ids
        assert cell["mean"] == pytest.approx(
            100 * (runs[ids[0]]["top1"] + runs[ids[1]]["top1"]) / 2
        )
    assert paper_note(table) == "Not the paper's experiment"
    assert "rco anchors 2 (paper: 24)" in block["deviations"]
    assert not any("weight" in text for text in block["deviations"] if "lipschitz" not in text)


def test_another_weight_than_table_5_s_is_a_deviation(study):
    study["distillers"]["at"] = {"weight": 500}
    said = block_record(expand(read(study)), "table6")["deviations"]
    assert "at weight 500 (paper: 1000)" in said
    assert sum(text.startswith("at weight") for text in said) == 1  # 500 is SoTeacher's own


def test_students_of_a_teacher_have_the_weights_of_its_column(study):
    study["tables"]["table6"]["distillers"] = ["at", "heavy", "odd", "sskd"]
    found = {
        (run.id.split("/")[2], run.id.split("/")[-1]): {
            key: value for key, value in settings.items() if key != "revision"
        }
        for run in expand(read(study)).runs.values()
        if run.teacher
        for settings in run.spec.to_json()["terms"].values()
    }
    assert found == {
        ("standard", "at"): {"weight": 1000.0},
        ("soteacher", "at"): {"weight": 500.0},
        ("standard", "heavy"): {"weight": 9.0},
        ("soteacher", "heavy"): {"weight": 9.0},
        ("standard", "odd"): {"weight": 1.0},
        ("soteacher", "odd"): {"weight": 2.5},
        ("standard", "sskd"): {"transformed_weight": 2.7, "similarity_weight": 10.0},
        ("soteacher", "sskd"): {"transformed_weight": 1.0, "similarity_weight": 10.0},
    }


def test_the_column_is_no_part_of_the_teacher(study):
    teachers = [run.spec for run in expand(read(study)).runs.values() if not run.teacher]
    study["teachers"]["soteacher"]["table5"] = "standard"
    assert [run.spec for run in expand(read(study)).runs.values() if not run.teacher] == teachers


def test_only_turned_views_change_a_student_s_stream(study):
    streams = {
        run.id.split("/")[-1]: run.spec.to_json()["stream"].get("turns")
        for run in expand(read(study)).runs.values()
        if run.teacher
    }
    assert streams == {"at": None, "sskd": 4, "rco": None}


def test_earlier_teachers_must_be_kept(study):
    study["distillers"]["rco"] = {"anchors": 4}
    said = refusal(study)
    assert said.startswith(
        "table6: rco learns from the checkpoints of digits/wrn_10_2/standard/seed0"
    )
    assert "epochs 1, 2, 3, 4, but its recipe keeps every 2 of 4 epochs" in said
    study["recipes"]["short"]["keep_every"] = 0
    assert "keeps only epoch 4, the last; set `keep_every`" in refusal(study)
    study["recipes"]["short"]["keep_every"] = 1
    expand(read(study))
    study["distillers"]["rco"] = {"anchors": 9}  # the first would be of epoch 0
    assert "after epochs 0, " in refusal(study)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("teachers", "soteacher", {"table5": "soteachr"}), "teachers.soteacher.table5: expected"),
        (("distillers", "at", {"weight": "much"}), "distillers.at.weight: "),
        (("distillers", "at", {"weight": {"standard": 1}}), "distillers.at.weight.soteacher: "),
        (
            ("distillers", "at", {"weight": {"standard": 1, "soteachr": 2}}),
            "distillers.at.weight: unknown key 'soteachr'",
        ),
        (("distillers", "at", {"weight": {"standard": 1, "soteacher": -2}}), "soteacher: "),
        (("distillers", "at", {"weight": -1}), "distillers.at.weight: expected"),
        (("distillers", "crd", {"negatives": 0}), "distillers.crd.negatives: expected"),
        (
            ("tables", "table5", {"kind": "weights", "teachers": METHODS, "distillers": ["sskd"]}),
            "tables.table5.distillers: expected distillers with exactly one weight as in Table 5",
        ),
        (
            ("tables", "table5", {"kind": "weights", "teachers": METHODS, "distillers": ["ta"]}),
            "tables.table5.distillers: unknown distiller 'ta'",
        ),
    ],
)
def test_a_bad_value_is_one_line_with_its_key(study, change, said):
    part, name, value = change
    study[part][name] = value
    assert said in refusal(study)


def test_every_distiller_of_the_paper_s_tables_says_how_it_is_printed():
    parts = [registry.get("distiller", name) for name in registry.shipped("distiller")]
    printed = "KD FitNets AT SP CC VID RKD PKT AB FT NST CRD SSKD RCO"
    assert sorted(p.display_name for p in parts if p.in_paper) == sorted(printed.split())
