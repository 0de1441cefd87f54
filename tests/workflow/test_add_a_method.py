"""The method of docs/add-a-method.md, added as the document says, to a copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = {
    "recipes": {"demo": {"epochs": 2, "batch": 256, "decay_at": [1], "keep_every": 1}},
    "figures": {"figure1": {"every": 1}},
    "tables": {"table6": {"distillers": ["kd"]}},
}
"""Lies over the demo so that it takes seconds."""


def blocks(language):
    text = (ROOT / "docs/add-a-method.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


class Copy:
    """The project as a newcomer has it, with the document's file in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("soteacher", "workflow", "config", "tests"):
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, path / name, ignore=left_out)
        for name in ("Snakefile", "pyproject.toml", "environment.yml"):
            shutil.copy(ROOT / name, path / name)
        (path / "small.yaml").write_text(yaml.safe_dump(SMALL))
        (path / "mine.yaml").write_text(*blocks("yaml"))
        (path / "soteacher/distillers/direction.py").write_text(blocks("python")[0])

    def run(self, *command: str) -> str:
        binaries = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": binaries, "PYTHONPATH": str(self.path)}
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def trained(self) -> set[str]:
        paths = self.path.glob("results/store/runs/*/run.json")
        return {yaml.safe_load(path.read_text())["id"] for path in paths}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Copy:
    return Copy(tmp_path_factory.mktemp("project"))


def test_the_documents_study_trains_the_new_students_alone(project):
    files = ("--configfile", "config/demo.yaml", "small.yaml")
    project.run("snakemake", "table6", "--cores", "2", *files)
    before = project.trained()
    said = project.run("soteacher", "plan", "config/demo.yaml", "small.yaml", "mine.yaml")
    assert "Study mine" in said
    project.run("snakemake", "table6", "--cores", "2", *files, "mine.yaml")
    methods = ("standard", "soteacher")
    new = {f"digits/wrn_10_2/{method}/seed0/wrn_10_1/direction" for method in methods}
    assert len(before) == 4 and project.trained() - before == new
    table = (project.path / "results/mine/tables/table6.md").read_text()
    assert re.search(r"\| KD +\| +\d", table) and re.search(r"\| direction +\| +\d", table)
    assert "method direction (not in the paper)" in table


def test_the_suite_takes_the_new_method_up(project):
    """Its formula and its result are added as the document says; then its tests are run."""
    oracle = project.path / "tests/oracle"
    path = oracle / "formulas.py"
    formula = blocks("python")[1]
    found = "\n\nFORMULAS = {"
    path.write_text(path.read_text().replace(found, f"\n\n{formula}{found}"))
    path = oracle / "test_distillers.py"
    path.write_text(
        path.read_text().replace("READS = {", 'READS = {\n    "direction": ("pooled",),')
    )
    project.run("pytest", "-q", "-p", "no:cacheprovider", "-k", "direction", str(path))
    trained = project.path / "tests/run/test_every_distiller.py"
    project.run("pytest", "-q", "-p", "no:cacheprovider", "-k", "direction", str(trained))
