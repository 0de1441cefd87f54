"""A table of training steps through Snakemake: it needs the data, and trains no run."""

from __future__ import annotations

import csv
import subprocess
import sys


def test_a_study_of_steps_alone_trains_nothing_and_has_its_table_and_page(empty):
    study = empty.study
    block = {"kind": "overhead", "teachers": ["standard", "soteacher"], "steps": 3}
    empty.write(study | {"tables": {"overhead": block}})
    done = empty.snakemake("overhead")
    assert "timed training steps for overhead in" in done.stderr
    assert "trained" not in done.stderr
    assert empty.trained() == set()
    assert [path.name for path in (empty.path / "results/store").iterdir()] == ["data"]
    results = empty.path / "results/tiny"
    with open(results / "overhead/overhead.csv", newline="") as file:
        steps = list(csv.DictReader(file))
    assert [row["method"] for row in steps[:4]] == ["standard", *["soteacher"] * 2, "standard"]
    assert len(steps) == 6 and all(float(row["seconds"]) > 0 for row in steps)
    assert "WRN10-1 SoTeacher" in (results / "tables/overhead.md").read_text()
    assert "\\caption{Time of a training step" in (results / "tables/overhead.tex").read_text()

    times = (results / "overhead/overhead.csv").read_bytes()
    empty.snakemake()
    page = (results / "report.html").read_text()
    assert "reference" in page and "The study needs no trained networks." in page
    assert (results / "overhead/overhead.csv").read_bytes() == times
    command = [sys.executable, "-m", "soteacher", "tables", "study.yaml"]
    said = subprocess.run(command, cwd=empty.path, capture_output=True, text=True)
    assert said.stdout.strip() == (results / "tables/overhead.md").read_text().strip()

    empty.write(study | {"tables": {"overhead": block | {"steps": 2}}})
    empty.snakemake("overhead")
    assert "n = 2 steps" in (results / "tables/overhead.md").read_text()
