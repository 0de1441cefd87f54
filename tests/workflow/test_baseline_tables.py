"""A study with students alone, an oracle and KD without labels: made, shown, verified."""

from __future__ import annotations

import copy
import csv
import shutil

import pytest
from conftest import TINY, Workplace

ROWS = {"teachers": ["standard", "oracle"], "distillers": ["kd", "pure"], "alone": True}
TABLES = {
    "table1": {"kind": "accuracy", **ROWS},
    "table6": {"kind": "distillers", **ROWS},
    "truth": {"kind": "truth_distance", **ROWS},
    "table3": {"kind": "calibration", "teachers": ["standard", "oracle"]},
    "table4": {"kind": "agreement", "teachers": ["standard", "oracle"], "distillers": ["pure"]},
}
FIGURES = {"reliability": {"kind": "reliability", "teachers": ["standard", "oracle"]}}
ORACLE = "digits/true_labels/oracle/seed0"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Workplace:
    """The tiny study with these tables, run once: not to be changed."""
    study = copy.deepcopy(TINY) | {"tables": TABLES, "figures": FIGURES, "runs_per_job": 8}
    study["data"]["digits"]["true_labels"] = {"confusion": 0.3}
    study["teachers"] = {"standard": {}, "oracle": {"oracle": True}}
    study["distillers"] = {"kd": {}, "pure": {"method": "kd", "ce": 0, "kd": 1}}
    place = Workplace(tmp_path_factory.mktemp("baselines"))
    place.write(study)
    place.snakemake()
    return place


def cells(place: Workplace, table: str) -> dict[tuple[str, str], dict[str, str]]:
    with open(place.path / f"results/tiny/tables/{table}.csv", newline="") as file:
        return {(row["row"], row["column"]): row for row in csv.DictReader(file)}


def test_the_rows_are_in_the_tables(made):
    pair = "wrn_10_1/wrn_10_1"
    table1, table6 = cells(made, "table1"), cells(made, "table6")
    alone = table1["alone", f"{pair} student.top1"]
    assert alone["runs"] == "digits/wrn_10_1/alone/seed0"
    assert 5 < float(alone["mean"]) <= 100
    assert table1["alone", f"{pair} teacher.top1"]["mean"] == ""
    assert table6["alone", f"{pair} oracle"]["mean"] == alone["mean"]
    assert float(table1["oracle pure", f"{pair} teacher.top1"]["mean"]) == 100
    markdown = (made.path / "results/tiny/tables/table1.md").read_text()
    [line] = [line for line in markdown.splitlines() if line.startswith("| Student alone")]
    assert line.rstrip("| ").endswith("–")
    assert "one seed (n = 1)" in markdown


def test_the_page_leads_to_the_runs_of_all_rows(made):
    results = made.path / "results/tiny"
    page = (results / "report.html").read_text()
    for run in (ORACLE, "digits/wrn_10_1/alone/seed0", f"{ORACLE}/wrn_10_1/pure"):
        links = [part for part in page.split('href="')[1:] if f"{run}/run.json" in part[:200]]
        assert links, run
        assert (results / links[0].partition('"')[0]).is_file()


def test_all_is_verified_and_a_second_run_does_nothing(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "copy", symlinks=True)
    place = Workplace(tmp_path / "copy")
    said = place.soteacher("verify", "results/tiny", "--study", "study.yaml")
    assert said.splitlines()[-1].endswith("all results agree with the records of their runs")
    status = place.printed("status", "study.yaml")
    assert "teachers (3): 3 done" in status and "students (4): 4 done" in status
    assert "Nothing to be done" in place.snakemake().stderr
    shutil.rmtree((place.path / "results/tiny/teachers" / ORACLE).resolve())
    said = place.soteacher("verify", "results/tiny", code=2)
    assert ORACLE in said
