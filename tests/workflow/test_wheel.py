"""The wheel alone, without the workflow's packages: the command, and the example's own loop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from soteacher.core.version import VERSION

ROOT = Path(__file__).parents[2]
BLOCKER = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {names!r} else found(name, path, target)

PathFinder.find_spec = staticmethod(find_spec)
"""
"""Makes a process as if these packages were not installed."""


class Installed:
    """The wheel of a copy of the project, unpacked as pip does, in a folder of its own."""

    def __init__(self, path: Path) -> None:
        self.path, source = path, path / "source"
        source.mkdir()
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "soteacher", source / "soteacher", ignore=left_out)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source / name)
        self._pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(path), str(source))
        [self.wheel] = path.glob("soteacher-*.whl")
        self._pip("install", "--no-deps", "--target", str(path / "site"), str(self.wheel))
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())
        workflow = extras["project"]["optional-dependencies"]["workflow"]
        names = {re.split(r"[=<>]", package)[0] for package in workflow}
        # these two are installed in any case, with torch and with scikit-learn
        names -= {"jinja2", "scipy"}
        (path / "site/sitecustomize.py").write_text(BLOCKER.format(names=names))

    def _pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def python(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=os.environ | {"PYTHONPATH": str(self.path / "site")},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_it_is_the_wheel_that_is_used_and_the_workflow_s_packages_are_not_there(installed):
    where = installed.python("-c", "import soteacher; print(soteacher.__file__)")
    assert Path(where.strip()) == installed.path / "site/soteacher/__init__.py"
    said = installed.python("-c", "import snakemake", code=1)
    assert "No module named 'snakemake'" in said


def test_the_wheel_holds_what_the_package_needs_and_no_tests(installed):
    names = {Path(name) for name in zipfile.ZipFile(installed.wheel).namelist()}
    ours = {
        path.relative_to(ROOT)
        for pattern in ("*.py", "*.csv", "*.j2", "py.typed")
        for path in (ROOT / "soteacher").rglob(pattern)
    }
    assert ours <= names
    [described] = [name for name in names if name.name == "METADATA"]
    text = zipfile.ZipFile(installed.wheel).read(described.as_posix()).decode("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    fields = Parser().parsestr(text)
    assert (fields["Name"], fields["Version"]) == ("soteacher", VERSION)
    assert fields["Author"] == "The soteacher authors"
    assert fields.get_all("Classifier") == project["classifiers"]
    assert set(fields.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert not fields.get_all("Project-URL")  # no address is known: docs/releasing.md
    assert {name.parts[0].partition("-")[0] for name in names} == {"soteacher"}


def test_the_example_runs_on_digits_and_both_networks_learn(installed):
    shutil.copy(ROOT / "examples/own_loop.py", installed.path)
    lines = installed.python("own_loop.py", "--device", "cpu").splitlines()
    found = [
        re.fullmatch(
            r"(\w+) +test accuracy ([\d.]+)%, mean confidence ([\d.]+)%, [\d.]+ s on cpu", line
        )
        for line in lines
    ]
    assert [match[1] for match in found] == ["Standard", "SoTeacher"]
    assert all(float(match[2]) > 90 for match in found)
    assert found[0][3] != found[1][3]


def test_a_study_is_checked_and_counted_without_the_workflow(installed):
    shutil.copy(ROOT / "config/demo.yaml", installed.path)
    assert "table7" in installed.python("-m", "soteacher", "plan", "demo.yaml")
