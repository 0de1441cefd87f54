"""A Python that cannot run the package says so in one line, with what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "soteacher"
OLD = """
import runpy, sys
sys.version_info, sys.version = (3, 8, 1), "3.8.1 (default)"
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def run(*arguments) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    return line


def test_a_python_without_the_packages(tmp_path):
    (tmp_path / "study.yaml").write_text("study: s\n", encoding="utf-8")
    alone = ("-S", "-E")  # without the packages of the environment
    line = run(*alone, PACKAGE, "plan", tmp_path / "study.yaml")
    assert f"soteacher: error: {sys.executable} has no package '" in line
    assert "activate the environment in which soteacher and its packages are installed" in line


def test_an_old_python():
    line = run("-c", OLD, PACKAGE / "__main__.py")
    assert line.startswith("soteacher: error: this is Python 3.8.1; activate the environment")
