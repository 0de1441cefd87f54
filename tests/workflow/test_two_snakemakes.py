"""Two Snakemakes that make one study in one folder: the second waits for the first."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from soteacher.core.files import process


def start(place) -> subprocess.Popen:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.Popen(
        place.command(),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.02)


def test_the_second_waits_for_the_first_and_finds_nothing_left_to_do(empty):
    lock = empty.path / "results/tiny/lock"
    first = start(empty)
    wait_for(lambda: lock.is_file() and lock.stat().st_size)
    second = start(empty)
    saids = [each.communicate(timeout=300)[0] for each in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], saids
    name = process(first.pid)
    line = f"soteacher: results/tiny: waiting for {name}, which makes this study here"
    assert "waiting for" not in saids[0]
    assert saids[1].splitlines().count(line) == 1
    assert "Nothing to be done" in saids[1]
    assert all("Missing files" not in said for said in saids)
    assert empty.attempts() == [1, 1, 1, 1]


@pytest.fixture
def held(place):
    """The finished study, of which this process holds the lock."""
    with (place.path / "results/tiny/lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield place


@pytest.mark.parametrize("way", [["-n"], ["--lint"], ["--summary"], ["--dag"], ["--unlock"]])
def test_what_runs_no_job_does_not_wait(held, way):
    held.snakemake(*way)


def test_another_study_in_the_same_folder_does_not_wait(held):
    study = held.study | {"study": "tinier"}
    held.write(study)
    held.snakemake("results/tinier/data/digits.json")


def test_the_workers_of_the_snakemake_that_holds_the_lock_do_not_wait(held):
    """As a cluster or a group of jobs starts them."""
    page = held.path / "results/tiny/report.html"
    page.unlink()
    held.snakemake("--mode", "subprocess", "results/tiny/report.html")
    assert page.is_file()


def test_an_error_of_a_job_is_not_said_to_be_one_of_the_lock(empty):
    empty.write(empty.study | {"store": "/dev/null/store"})
    said = empty.snakemake("results/tiny/data/digits.json", code=1).stderr
    assert "soteacher: error: " in said
    assert "Error in rule prepare:" in said and "log: results/tiny/logs/prepare/digits.log" in said
    assert "lock.smk" not in said and "progress.smk" not in said
