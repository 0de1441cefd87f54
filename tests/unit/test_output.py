"""A disk that is full, or a log that cannot be written: one line, and no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FULL = "/dev/full"
pytestmark = pytest.mark.skipif(not os.path.exists(FULL), reason=f"this system has no {FULL}")
STUDY = """\
study: s
seeds: [0]
data: {d: {source: digits}}
recipes: {r: {epochs: 2, batch: 16, lr: 0.05, decay_at: [1]}}
pairs: {wrn_10_1/wrn_10_1: {data: d, teacher_recipe: r, student_recipe: r}}
teachers: {standard: {}}
distillers: {kd: {}}
tables: {t: {kind: calibration, teachers: [standard]}}
"""


def run(command, cwd, **streams) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "soteacher", *command]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(command, cwd=cwd, encoding="utf-8", **streams)


PREPARE = ("prepare", "--spec", '{"source": "digits", "revision": 1}', "--store", "s")


LOGGING = """
import logging, sys
from pathlib import Path
from soteacher.cli.output import LogFile
HANDLERS = [LogFile(Path(sys.argv[1])), logging.StreamHandler()]
logging.basicConfig(format="%(message)s", level="INFO", handlers=HANDLERS)
for number in range(3):
    logging.getLogger("soteacher").info("message %d", number)
"""


@pytest.mark.parametrize("log", [FULL, "/dev/null/job.log"])
def test_a_log_that_cannot_be_written_is_told_once_and_the_work_goes_on(log):
    done = subprocess.run(
        [sys.executable, "-c", LOGGING, log], capture_output=True, encoding="utf-8", check=True
    )
    first, *others = done.stderr.splitlines()
    assert first.startswith(f"cannot write the log {log}: ")
    assert first.endswith("; continuing without it")
    assert others == ["message 0", "message 1", "message 2"]


def test_where_the_results_cannot_be_written_either_the_reason_has_one_line(tmp_path):
    done = run([*PREPARE, "--log", FULL, "--out", "/dev/null/data.json"], tmp_path)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if "error" in line]
    assert "soteacher: error: cannot write /dev/null/data.json" in line
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_log_is_utf_8_in_every_locale(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    missing = ["table", "--block", "für Müller.json", "--markdown", "t.md", "--latex", "t.tex"]
    missing += ["--measures", "m.json", "--out", "t.csv", "--log", "log.txt"]
    done = run(missing, tmp_path, env=os.environ | ascii_only)
    assert done.returncode == 2
    assert "für Müller.json" in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_a_full_disk_behind_standard_output_is_one_line(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    with open(FULL, "w", encoding="utf-8") as full:
        done = run(["plan", "study.yaml"], tmp_path, stdout=full)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "cannot write the output: No space left on device; free disk space" in line


def test_a_closed_standard_output_is_no_error(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    command = f'"{sys.executable}" -m soteacher plan study.yaml >&-'
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")
