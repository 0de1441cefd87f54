"""A small study under `--use-conda`: a real conda, environment.yml as it is, a channel made here.

What this cannot show: that conda-forge has these packages in these versions, and that they fit
together there. `make test-conda` runs it, in a Python that has neither soteacher nor torch.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import made
import pytest
import yaml

PAIR = "wrn_10_1/wrn_10_1"
STUDY = {
    "study": "small",
    "seeds": [0],
    "device": "cpu",
    "data": {"digits": {"source": "digits", "augment": {"crop_padding": 1}}},
    "recipes": {"short": {"epochs": 2, "batch": 256, "lr": 0.05, "decay_at": [1]}},
    "pairs": {PAIR: {"data": "digits", "teacher_recipe": "short", "student_recipe": "short"}},
    "teachers": {"standard": {}},
    "distillers": {"kd": {}},
    "tables": {
        "table1": {"kind": "accuracy", "teachers": ["standard"], "distillers": ["kd"]},
    },
    "figures": {"reliability": {"kind": "reliability", "teachers": ["standard"]}},
}
MODULE = """
configfile: "study.yaml"

module soteacher:
    snakefile: "{source}/workflow/Snakefile"
    config: config

use rule * from soteacher as soteacher_*

rule mine:
    default_target: True
    input: "results/small/tables/table1.md"
    output: "mine.txt"
    shell: "cp {{input}} {{output}}"
"""


class Machine:
    """One with conda, and with a Python that has Snakemake alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        with ThreadPoolExecutor() as at_once:  # each waits for pip
            calling = at_once.submit(made.caller, folder)
            binaries = made.conda(folder)
            made.channel(folder)
        binaries = f"{calling.result()}:{binaries}"
        home = folder / "home"  # nobody's own settings
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("CONDA", "PYTHON"))}
        self.environment = kept | {
            "PATH": f"{binaries}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(home),
            "SNAKEMAKE_CONDA_PREFIX": str(folder / "environments"),
        }
        files = subprocess.run(
            ["git", "ls-files", "-z"], cwd=made.ROOT, capture_output=True, text=True, check=True
        ).stdout
        for name in filter(None, files.split("\0")):
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(made.ROOT / name, self.source / name)

    def run(self, *command: str, cwd: Path) -> str:
        """What it says; fails where it fails."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    def new(self, name: str, study: dict) -> Path:
        folder = self.folder / name
        folder.mkdir()
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        return folder


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return Machine(tmp_path_factory.mktemp("conda"))


@pytest.fixture(scope="module")
def in_clone(machine):
    """What Snakemake says of the study, called in the clone, as the README does."""
    study = machine.new("begun", STUDY) / "study.yaml"
    command = ["snakemake", "--cores", "all", "--use-conda", "--configfile", str(study)]
    return machine.run(*command, cwd=machine.source)


def measures(folder: Path) -> list[dict[str, str]]:
    """A row for each run."""
    paths = (folder / "results/small/measures").glob("*/*.csv")
    return [
        row
        for path in sorted(paths)
        if path.name.count(".") == 1
        for row in csv.DictReader(path.read_text().splitlines())
    ]


def test_rules_run_in_the_environment_that_the_file_describes(machine, in_clone):
    assert "Creating conda environment environment.yml" in in_clone
    rows = measures(machine.source)
    assert len(rows) == 2
    # the calling Python has no torch, the machine's may have any other
    assert {row["torch"].partition("+")[0] for row in rows} == {made.TORCH}
    missing = machine.run(
        "python",
        "-c",
        "from importlib.util import find_spec\n"
        "print([n for n in ('soteacher', 'torch', 'numpy', 'pandas') if find_spec(n)])",
        cwd=machine.folder,
    )
    assert missing.strip() == "[]"
    for path in (
        "tables/table1.tex",
        "figures/reliability.pdf",
        "figures/reliability.svg",
        "report.html",
    ):
        assert (machine.source / "results/small" / path).stat().st_size > 500


def test_another_working_directory_uses_the_same_environment_and_runs(machine, in_clone):
    store = str(machine.source / "results/store")
    folder = machine.new("elsewhere", STUDY | {"store": store})
    said = machine.run(
        *("snakemake", "--cores", "all", "--use-conda"),
        *("--snakefile", str(machine.source / "Snakefile"), "--directory", str(folder)),
        *("--configfile", str(folder / "study.yaml")),
        cwd=machine.folder,
    )
    assert "Creating conda environment" not in said
    assert measures(folder) == measures(machine.source)
    assert (folder / "results/small/report.html").is_file()


def test_a_workflow_of_ones_own_can_use_ours_as_a_module(machine, in_clone):
    store = str(machine.source / "results/store")
    folder = machine.new("module", STUDY | {"store": store})
    (folder / "Snakefile").write_text(MODULE.format(source=machine.source))
    machine.run("snakemake", "--cores", "all", "--use-conda", cwd=folder)
    theirs = (machine.source / "results/small/tables/table1.md").read_text()
    assert (folder / "mine.txt").read_text() == theirs


def test_the_environment_file_is_valid_and_allows_what_the_other_tests_run_with():
    from conda.models.match_spec import MatchSpec

    file = yaml.safe_load((made.ROOT / "environment.yml").read_text())
    assert file["channels"] == ["conda-forge"]
    tested = made.tested()
    for spec in map(MatchSpec, file["dependencies"]):
        if spec.name != "python":
            facts = {"name": spec.name, "version": tested[spec.name]}
            assert spec.match(facts | {"build": "0", "build_number": 0}), spec
