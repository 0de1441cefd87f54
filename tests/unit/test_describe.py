"""What a plan tells its reports: it changes exactly where what it describes does."""

import json
from copy import deepcopy
from pathlib import Path

import pytest

from soteacher.core import registry
from soteacher.study.expand import expand
from soteacher.study.kinds import comparison
from soteacher.study.load import read
from soteacher.study.requests import Request
from soteacher.study.summary import (
    block_record,
    caption,
    page_summary,
    planned,
)


def put(values, path, value):
    """A copy of the values, with one of them set."""
    made = deepcopy(values)
    *outer, key = path.split()
    inner = made
    for name in outer:
        inner = inner[name]
    inner[key] = value
    return made


def blocks(values):
    """What the workflow says of each table, each figure and the page."""
    plan = expand(read(values))
    made = {name: block_record(plan, name) for name in plan.study.blocks}
    return made | {"page": page_summary(plan)}


def params(values):
    """What Snakemake compares of each: the paths of files, which have their hashes."""
    return {name: Request.of("asked", name, block).path for name, block in blocks(values).items()}


def said(values, name):
    return blocks(values)[name]


def turned_around(values):
    """The same values, with the keys of every mapping in the opposite order."""
    if isinstance(values, dict):
        return {key: turned_around(values[key]) for key in reversed(values)}
    return values


OF_DIGITS = {"table1", "table3", "table4", "table6", "truth", "overhead"}
OF_DIGITS |= {"figure1", "reliability", "curves", "predictors"}
OF_DIGITS |= {"table7", "table7_calibration", "table7_agreement", "table7_truth"}
OF_OTHERS = {"table2", "table3", "table4", "figure2", "reliability"}
"""What shows runs on the digits, and on the rotated ones."""
ALL = OF_DIGITS | OF_OTHERS | {"table5", "page"}
OF_KD = ALL - {"table3", "table5", "table6", "table7_calibration", "overhead", "reliability"}
BOTH = ["student.agreement", "student.predictive_kl"]

# what is set in the demo, and which params are others then
CHANGES = [
    ("store", "elsewhere", set()),
    ("threads", 3, set()),
    ("device", "cuda", set()),
    ("save_every", 5.0, set()),
    ("loggers", ["wandb"], set()),
    ("runs_per_job", 2, set()),
    ("recipes unused", {"epochs": 1, "batch": 1, "lr": 1, "decay_at": []}, {"page"}),
    ("teachers unused", {}, {"page"}),
    ("seeds", [0, 1], {"table1", "table2", "table3", "table4", "truth", "predictors", "page"}),
    ("tables table1 seeds", [0], {"table1"}),
    ("tables table4 columns", BOTH, {"table4"}),
    ("tables more", {"kind": "calibration", "teachers": ["standard"]}, {"more", "page"}),
    ("tables overhead steps", 31, {"overhead"}),
    ("figures more", {"kind": "reliability", "teachers": ["standard"]}, {"more", "page"}),
    ("figures figure1 every", 8, {"figure1", "page"}),
    # it is no longer what figure2's consistency of 0 leaves
    (
        "teachers no_cr lipschitz weight",
        2e-4,
        {"table1", "table2", "truth", "overhead", "figure2", "predictors", "page"},
    ),
    ("distillers kd", {"temperature": 3.0}, OF_KD),
    ("distillers at", {"weight": 3.0}, {"table5", "table6", "page"}),
    ("distillers sskd similarity_weight", 3.0, {"table6", "page"}),
    ("teachers soteacher table5", "standard", {"table5", "table6", "page"}),
    ("teachers no_cr table5", "soteacher", {"page"}),
    ("data digits augment flip", 0.5, OF_DIGITS | {"page"}),
    ("data digits true_labels confusion", 0.2, OF_DIGITS | {"page"}),
    ("data rotated_digits augment rotation", 10, OF_OTHERS | {"page"}),
    ("recipes demo batch", 32, OF_DIGITS | {"page"}),
    (
        "recipes demo keep_every",
        2,
        (OF_DIGITS | {"page"}) - {"table4", "table6", "table7_agreement"},
    ),
    ("figures figure2 vary", {"lipschitz.weight": [1]}, {"figure2", "page"}),
    ("precision", "tf32", ALL - {"table5", "page"}),  # no new difference from the paper
    ("precision", "bfloat16", ALL - {"table5"}),
]


@pytest.mark.parametrize(("path", "value", "others"), CHANGES, ids=[row[0] for row in CHANGES])
def test_a_param_changes_exactly_where_what_it_describes_does(demo, path, value, others):
    old, new = params(demo), params(put(demo, path, value))
    assert {name for name in new if new[name] != old.get(name)} == others
    assert old.keys() <= new.keys()


def test_a_renamed_study_changes_the_page_alone(demo):
    old, new = params(demo), params(demo | {"study": "another"})
    assert {name for name in new if new[name] != old[name]} == {"page"}


def test_params_are_the_same_whatever_the_order_of_keys(demo):
    demo["teachers"]["soteacher"]["consistency"] = {"ramp": "cosine", "weight": 2.0}
    demo["data"]["others"] = {"source": "digits"}
    made = params(demo)
    assert made.keys() == ALL
    # pairs and settings that are varied keep theirs: columns and panels stand in it; and of two
    # methods that are the same, the first one names the runs
    other = turned_around(demo) | {"pairs": demo["pairs"], "teachers": demo["teachers"]}
    other["figures"]["figure2"]["vary"] = demo["figures"]["figure2"]["vary"]
    assert params(other) == made


def test_what_is_written_is_read_as_it_was_and_written_once(tmp_path):
    said = {"b": [1.5, "x"], "a": None}
    request = Request.of(tmp_path / "asked", "table1", said)
    assert not (tmp_path / "asked").exists()
    path = Path(request.write())
    assert str(path) == request.path
    assert json.loads(path.read_text()) == said
    first = path.stat()
    same = Request.of(tmp_path / "asked", "table1", {"a": None, "b": [1.5, "x"]})
    assert same.write() == str(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert Request.of(tmp_path / "asked", "table1", said | {"a": 1}).path != str(path)


def test_a_table_s_block_has_each_cell_its_runs_and_the_hashes_of_their_specs(demo):
    plan = expand(read(demo))
    block = block_record(plan, "table4")
    assert (block["name"], block["kind"]) == ("table4", "agreement")
    assert block["runs"] == planned(plan.runs_of("table4"))
    assert len(block["runs"]) == 18
    first = block["cells"][0]
    assert first == {
        "row": "standard",
        "column": "wrn_10_2/wrn_10_1 student.agreement",
        "measure": "agreement",
        "role": "student",
        "runs": [f"digits/wrn_10_2/standard/seed{k}/wrn_10_1/kd" for k in range(3)],
        "papers": False,
        "paper_row": "standard",
    }
    for run_id, sha256 in block["runs"].items():
        assert plan.runs[run_id].spec.sha256.startswith(sha256)
        assert len(sha256) == 16
    assert block["deviations"].count("epochs 16 (paper: 240)") == 1


def test_a_table_s_block_tells_teachers_from_students(demo):
    roles = {cell["column"]: cell["role"] for cell in said(demo, "table1")["cells"]}
    assert roles["wrn_10_2/wrn_10_1 teacher.top1"] == "teacher"
    assert roles["wrn_10_2/wrn_10_1 student.top1"] == "student"


def test_a_figure_s_block_has_its_points_and_of_checkpoints_students_teachers_and_epochs(demo):
    first, *_ = said(demo, "figure1")["points"]
    teacher = "digits/wrn_10_2/standard/seed0"
    assert first == {
        "panel": "wrn_10_2/wrn_10_1",
        "series": "standard",
        "epoch": 4,
        "students": [f"{teacher}/epoch004/wrn_10_1/kd"],
        "teachers": [teacher],
    }
    first, *_ = said(demo, "reliability")["points"]
    assert first == {"panel": "wrn_10_2 standard", "series": "standard", "runs": [teacher]}
    runs = said(demo, "figure1")["runs"]
    assert teacher in runs and f"{teacher}/epoch004/wrn_10_1/kd" in runs


SWEEP = {
    "kind": "sweep",
    "base": "soteacher",
    "teachers": ["standard"],
    "pairs": ["wrn_10_2/wrn_10_1"],
    "distillers": ["kd"],
    "vary": {"lipschitz.weight": [0, 0.1]},
}


def test_a_figure_tells_what_is_not_the_paper_s_but_for_what_it_varies(demo, monkeypatch):
    demo["figures"]["figure2"] = SWEEP
    for name in ("figure1", "figure2", "curves", "reliability"):
        block = said(demo, name)
        assert block["papers"] == "none"
        assert block["deviations"].count("epochs 16 (paper: 240)") == 1
        assert "lipschitz weight 0.0001 (paper: 1e-05)" in block["deviations"]
        told = " ".join(block["deviations"])
        assert "the teacher of epoch" not in told and "0.1 (paper" not in told
        assert said(demo, "page")["figures"][name]["deviations"] == block["deviations"]

    def ours(spec, method, taught_by=""):
        return ["ours"] if method == "soteacher" else []

    monkeypatch.setattr(comparison, "deviations", ours)
    assert {said(demo, name)["papers"] for name in ("figure1", "table1", "curves")} == {"some"}
    monkeypatch.setattr(comparison, "deviations", lambda *_: [])
    assert {said(demo, name)["papers"] for name in ("figure1", "table1", "curves")} == {"all"}


def test_every_kind_has_a_title_and_a_meaning(demo):
    kinds = [
        registry.get(what, name)
        for what in ("kind of table", "kind of figure")
        for name in registry.names(what)
    ]
    assert len({kind.title for kind in kinds}) == len(kinds) == 14
    assert all(kind.meaning.endswith(".") and kind.title[-1] != "." for kind in kinds)
    plan = expand(read(demo))
    for name, block in plan.study.blocks.items():
        assert caption(plan, name) == f"{block.title}. {block.meaning}"


def test_the_page_s_facts_count_runs_and_name_seeds_and_data(demo):
    facts = said(demo, "page")["facts"]
    assert facts[0].startswith(
        "The study needs 33 teachers and 77 students, over seeds 0, 1, 2, on digits (with known "
        "true label distributions: 30% of the labels are drawn from look-alike classes"
    )
    other = said(put(demo, "tables table3 seeds", [7]), "page")["facts"]
    assert "over seeds 0, 1, 2, 7, on" in other[0]


def test_the_page_says_what_methods_and_recipes_are(demo):
    page = said(demo, "page")
    assert page["teachers"]["standard"] == "cross-entropy alone"
    assert page["teachers"]["soteacher"] == (
        "consistency + lipschitz (weight 0.0001); its students use the weights of Table 5 for "
        "soteacher"
    )
    assert page["distillers"].keys() == demo["distillers"].keys()
    assert page["distillers"]["kd"] == "kd"
    assert page["distillers"]["crd"] == "crd (negatives 256)"
    assert page["distillers"]["at"] == "at (weight 100.0 for standard and 50.0 for soteacher)"
    assert "epochs 16, batch 64, lr 0.05" in page["recipes"]["demo"]
    assert page["tables"].keys() | page["figures"].keys() == ALL - {"page"}


# a table may need more jobs than a command line could name


def test_a_table_may_need_more_than_a_thousand_jobs(demo):
    many = put(demo, "tables table1 seeds", list(range(120))) | {"runs_per_job": 1}
    plan = expand(read(many))
    assert len(plan.jobs_of(plan.runs_of("table1"))) == 1440
