"""The lock of a study's results: one process at a time, whatever ends the others."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys

import pytest

from soteacher.core.files import process
from soteacher.study.lock import one_at_a_time

HOLD = """
import subprocess, sys
from pathlib import Path
from soteacher.study.lock import one_at_a_time
with one_at_a_time(Path(sys.argv[1]), lambda line: print(line, flush=True)):
    child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def results(tmp_path):
    return tmp_path / "results/s"


@pytest.fixture
def holder(results):
    """A process that holds the lock, and has a child; it ends when its input is closed."""
    command = [sys.executable, "-c", HOLD, str(results)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, encoding="utf-8", **pipes) as running:
        running.child = int(running.stdout.readline())
        yield running
        running.kill()
        os.kill(running.child, signal.SIGKILL)


def test_the_first_process_says_nothing_and_names_itself(results):
    said = []
    with one_at_a_time(results, said.append):
        assert (results / "lock").read_text(encoding="utf-8") == process()
    with one_at_a_time(results, said.append):
        pass
    assert said == []


def test_the_second_waits_and_names_the_first(results, holder):
    said = []

    def say(line):
        said.append(line)
        holder.stdin.close()  # the first one ends

    with one_at_a_time(results, say):
        assert (results / "lock").read_text(encoding="utf-8") == process()
    name = process(holder.pid)
    assert said == [f"{results}: waiting for {name}, which makes this study here"]


def test_a_killed_process_releases_it_although_its_child_lives(results, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    os.kill(holder.child, 0)
    said = []
    with one_at_a_time(results, said.append):
        pass
    assert said == []


def test_after_a_wait_for_a_folder_that_was_deleted_the_new_folder_is_locked(results, holder):
    def say(line):
        shutil.rmtree(results)
        holder.stdin.close()

    with (
        one_at_a_time(results, say),
        (results / "lock").open("a", encoding="utf-8") as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_where_no_lock_can_be_made_one_line_says_so_and_the_work_goes_on(results):
    results.parent.mkdir()
    results.write_text("no folder", encoding="utf-8")
    said, done = [], []
    with one_at_a_time(results, said.append):
        done.append(True)
    assert done and said == [
        f"cannot lock {results}: File exists; run no second snakemake for this study here"
    ]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_one_line(results, monkeypatch, number):
    def flock(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = []
    open_before = len(os.listdir("/proc/self/fd"))
    with one_at_a_time(results, said.append):
        pass
    assert len(os.listdir("/proc/self/fd")) == open_before
    [line] = said
    assert line.startswith(f"cannot lock {results}: {os.strerror(number)}; ")


def test_an_error_of_the_work_is_not_taken_for_one_of_the_lock(results):
    said = []
    with pytest.raises(OSError, match="of the work"), one_at_a_time(results, said.append):
        raise OSError("of the work")
    assert said == []
    with one_at_a_time(results, said.append):
        pass
    assert said == []


def test_an_interrupt_ends_the_wait(results, holder):
    # what runs the tests may ignore Ctrl-C, as a shell does for its background jobs
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = heed + HOLD.replace('"sleep"', '"true"')
    second = subprocess.Popen(
        [sys.executable, "-c", command, str(results)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    assert "waiting for process" in second.stdout.readline()
    second.send_signal(signal.SIGINT)
    assert second.wait(timeout=30) != 0
    assert holder.poll() is None
