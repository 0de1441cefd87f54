"""A teacher of one study, exported, is the imported teacher of another: made, shown, verified."""

from __future__ import annotations

import copy
import csv

from conftest import TINY, Workplace

TABLES = {
    "table1": {"kind": "accuracy", "teachers": ["plain", "mine"], "distillers": ["kd", "fitnet"]},
    "table3": {"kind": "calibration", "teachers": ["plain", "mine"]},
}
FIGURES = {"reliability": {"kind": "reliability", "teachers": ["plain", "mine"]}}
PLAIN, MINE = "digits/wrn_10_1/plain/seed0", "digits/wrn_10_1/mine/seed0"


def test_an_imported_teacher_goes_through_the_whole_workflow(tmp_path):
    place = Workplace(tmp_path)
    study = copy.deepcopy(TINY) | {
        "teachers": {"plain": {}},
        "distillers": {"kd": {}, "fitnet": {}},
    }
    study["tables"] = {"first": {"kind": "calibration", "teachers": ["plain"]}}
    study["figures"] = {}
    place.write(study)
    place.snakemake("first")
    place.soteacher("export", f"results/tiny/teachers/{PLAIN}", "exported")

    study["teachers"]["mine"] = {"weights": "exported/pytorch_model.bin"}
    place.write(study | {"tables": TABLES, "figures": FIGURES})
    place.snakemake()
    results = tmp_path / "results/tiny"
    with open(results / "tables/table1.csv", newline="") as file:
        cells = {(row["row"], row["column"]): row for row in csv.DictReader(file)}
    for distiller in ("kd", "fitnet"):
        for column in ("student.top1", "teacher.top1"):
            plain, mine = (
                cells[f"{one} {distiller}", f"wrn_10_1/wrn_10_1 {column}"]["mean"]
                for one in ("plain", "mine")
            )
            assert plain == mine != ""
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "trained elsewhere: pytorch_model.bin" in page and f"{MINE}/run.json" in page
    said = place.soteacher("verify", "results/tiny", "--study", "study.yaml")
    assert said.splitlines()[-1].endswith("all results agree with the records of their runs")
    assert "Nothing to be done" in place.snakemake().stderr

    file = tmp_path / "exported/pytorch_model.bin"
    file.write_bytes(file.read_bytes() + b" ")
    dry = place.snakemake("-n").stdout
    assert "rule teach:" in dry and "rule distill:" in dry
