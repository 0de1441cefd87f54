"""The methods of docs/add-a-method.md, added as the document says, to a copy of the project.

This is the short form: only the tests of these methods are run. `make test-documented` runs all
that a method can reach.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from documented_methods import DOCUMENT, Copy, reached_tests, steps  # noqa: E402

STEPS = steps((ROOT / DOCUMENT).read_text())
NEW = ("direction", "confident")
SMALL = {
    "recipes": {"demo": {"epochs": 2, "batch": 256, "decay_at": [1], "keep_every": 1}},
    "figures": {"figure1": {"every": 1}},
    "tables": {"table6": {"distillers": ["kd"]}},
}
"""Lies over the demo so that it takes seconds."""
FILES = ("--configfile", "config/demo.yaml", "small.yaml")


class Project(Copy):
    """The project as a newcomer has it, with a smaller demo."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for name in ("soteacher", "workflow", "config", "tests"):
            left_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, path / name, ignore=left_out)
        for name in ("Snakefile", "pyproject.toml", "environment.yml"):
            shutil.copy(ROOT / name, path / name)
        (path / "small.yaml").write_text(yaml.safe_dump(SMALL))

    def say(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.path,
            env=self.environment,
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
def project(tmp_path_factory) -> Project:
    """With the document's files, and nothing else of it done."""
    made = Project(tmp_path_factory.mktemp("project"))
    for step in STEPS:
        if step.path and not step.append:
            made.follow(step)
    return made


def test_the_documents_study_trains_the_new_students_alone(project):
    project.say("snakemake", "table6", "--cores", "2", *FILES)
    before = project.trained()
    said = project.say("soteacher", "plan", "config/demo.yaml", "small.yaml", "mine.yaml")
    assert "Study mine" in said
    project.say("snakemake", "table6", "--cores", "2", *FILES, "mine.yaml")
    teachers = ("standard", "soteacher")
    new = {f"digits/wrn_10_2/{t}/seed10/wrn_10_1/{name}" for t in teachers for name in NEW}
    assert len(before) == 5 and project.trained() - before == new
    table = (project.path / "results/mine/tables/table6.md").read_text()
    assert re.search(r"\| KD +\| +\d", table)
    for name in NEW:
        assert re.search(rf"\| {name} +\| +\d", table)
        assert f"distiller {name} (not in the paper)" in table
        assert not re.search(rf"[^\n;:]*\b{name}\b[^\n;.]*\(paper", table)


def test_the_suite_takes_the_new_methods_up(project):
    """Moved, with their formulas, as the document says; then their tests are run."""
    for step in STEPS:
        if step.append or step.text.startswith("mv "):
            project.follow(step)
    for file in ("oracle/test_distillers.py", "run/test_every_distiller.py"):
        tests = ("-q", "-p", "no:cacheprovider", "-k", " or ".join(NEW), f"tests/{file}")
        project.say("pytest", *tests)


def test_files_of_tests_that_enumerate_methods_are_reached():
    reached = {Path(path).name for path in reached_tests(ROOT)}
    enumerating = {"step_counts", "losses", "revisions", "distillers", "teacher_methods", "docs"}
    enumerating |= {"layout", "describe", "encoding", "files", "study", "pinned_specs"}
    assert {f"test_{name}.py" for name in enumerating} <= reached
    assert reached.isdisjoint({"test_networks.py", "test_figures.py", "test_statistics.py"})
