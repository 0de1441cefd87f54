"""A teacher of one study, exported, is the imported teacher of another: made, shown, verified."""

from __future__ import annotations

import copy
import csv
import re

import yaml
from conftest import ROOT, TINY, Workplace

PAIR = "wrn_10_2/wrn_10_1"
BOTH = ["standard", "mine"]
STANDARD, MINE = "digits/wrn_10_2/standard/seed0", "digits/wrn_10_2/mine/seed0"


def test_the_example_of_the_document_goes_through_the_whole_workflow(tmp_path):
    document = (ROOT / "docs/exchange.md").read_text(encoding="utf-8")
    [piece] = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", document, re.DOTALL))
    command = "snakemake mine_table --cores all --configfile config/demo.yaml mine.yaml"
    assert f"\n{command}\n" in document

    place = Workplace(tmp_path)
    study = copy.deepcopy(TINY) | {"teachers": {"standard": {}}}
    study |= {"pairs": {PAIR: TINY["pairs"]["wrn_10_1/wrn_10_1"]}}
    study |= {"distillers": {"kd": {}, "fitnet": {}}}
    study["tables"] = {"first": {"kind": "calibration", "teachers": ["standard"]}}
    place.write(study)
    place.snakemake("first")
    place.soteacher("export", f"results/tiny/teachers/{STANDARD}", "exported")

    study["teachers"] |= piece["teachers"]
    study["tables"] |= piece["tables"] | {"table3": {"kind": "calibration", "teachers": BOTH}}
    study["figures"] = {"reliability": {"kind": "reliability", "teachers": BOTH}}
    place.write(study)
    place.snakemake("mine_table")
    results = tmp_path / "results/tiny"
    with open(results / "tables/mine_table.csv", newline="", encoding="utf-8") as file:
        cells = {(row["row"], row["column"]): row["mean"] for row in csv.DictReader(file)}
    for distiller in ("kd", "fitnet"):
        for column in ("student.top1", "teacher.top1"):
            standard, mine = (cells[f"{one} {distiller}", f"{PAIR} {column}"] for one in BOTH)
            assert standard == mine != ""

    place.snakemake()
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "trained elsewhere: pytorch_model.bin" in page and f"{MINE}/run.json" in page
    said = place.soteacher("verify", "results/tiny", "--study", "study.yaml")
    assert said.splitlines()[-1].endswith("all results agree with the records of their runs")
    assert "Nothing to be done" in place.snakemake().stderr

    file = tmp_path / "exported/pytorch_model.bin"
    file.write_bytes(file.read_bytes() + b" ")
    dry = place.snakemake("-n").stdout
    assert "rule teach:" in dry and "rule distill:" in dry
