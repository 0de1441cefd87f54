"""Killed at random moments and started again = never killed, to the last bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from soteacher.core.files import read_json, write_json
from soteacher.data.prepared import prepare
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.study.requests import Request
from soteacher.study.runs import Job

STUDY = {
    "study": "killed",
    "seeds": [0],
    "data": {"digits": {"source": "digits", "augment": {"crop_padding": 1, "flip": 0.5}}},
    "recipes": {"short": {"epochs": 3, "batch": 128, "lr": 0.05, "decay_at": [2], "keep_every": 1}},
    "pairs": {
        "wrn_10_1/wrn_10_1": {
            "data": "digits",
            "teacher_recipe": "short",
            "student_recipe": "short",
        }
    },
    "teachers": {
        "standard": {},
        "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}},
    },
    "distillers": {"kd": {}, "kd_cold": {"method": "kd", "temperature": 1}},
    "tables": {
        "one": {
            "kind": "accuracy",
            "teachers": ["standard", "soteacher"],
            "distillers": ["kd", "kd_cold"],
        }
    },
}


PACED = """
import sys, time
from pathlib import Path
from soteacher.cli import main
from soteacher.store.run_folder import RunFolder

reached, go = Path(sys.argv[1]), Path(sys.argv[2])
left, more = int(sys.argv[3]), int(sys.argv[4])
del sys.argv[1:5]
save, end = RunFolder.save_state, time.monotonic() + 300  # should its watcher be gone

def paced(folder, tensors, info):
    global left
    while left == -more and not go.exists() and time.monotonic() < end:
        time.sleep(0.005)
    save(folder, tensors, info)
    left -= 1
    if left == 0:
        reached.touch()

RunFolder.save_state = paced
main()
"""
"""The command, but it waits once it has saved so many states and some more, until it may go on:
however slow the one who watches it is, it has not ended by then."""
MORE = 4
"""States that a process may save beyond those after which it is killed."""


class Shop:
    """A store, and jobs run in it in processes of their own, which save a state at every step."""

    def __init__(self, path: Path) -> None:
        self.path, self.store = path, path / "store"
        self.reached, self.go = path / "reached", path / "go"
        self.plan = expand(read(STUDY))
        self.data = path / "data.json"
        write_json(self.data, prepare(self.plan.data_spec("digits"), self.store))

    def job(self, role: str, *ids: str) -> Job:
        """One job of the plan's runs with these ids, or of all of a role."""
        runs = [run for run in self.plan.runs.values() if run.spec.to_json()["role"] == role]
        chosen = tuple(run for run in runs if not ids or run.id in ids)
        return Job("job", role, "digits", chosen)

    def start(self, job: Job, out: str, save_every: float = 0, *paces: int) -> subprocess.Popen:
        """Start a job; `paces` are the states after which it is `reached`, and how many more."""
        command = "teach" if job.role == "teacher" else "distill"
        places = ["--links", str(self.path / "links"), "--out", str(self.path / out)]
        teachers = ["--teachers", str(self.path / "teachers.json")] if command == "distill" else []
        device = os.environ.get("SOTEACHER_TEST_DEVICE", "cpu")
        settings = ["--device", device, "--save-every", str(save_every), "--store", str(self.store)]
        asked = Request.of(self.path, "asked", job.request).write()
        given = ["--runs", asked, "--data", str(self.data), *teachers]
        program = ["-m", "soteacher"]
        if paces:
            self.reached.unlink(missing_ok=True)
            self.go.unlink(missing_ok=True)
            program = ["-c", PACED, str(self.reached), str(self.go), *map(str, paces)]
        return subprocess.Popen(
            [sys.executable, *program, command, *given, *settings, *places],
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, job: Job, out: str, save_every: float = 60) -> dict:
        process = self.start(job, out, save_every)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return read_json(self.path / out, "the manifest")

    def cursors(self) -> dict[str, list]:
        """Folder name to the newest saved cursor, of unfinished runs."""
        newest: dict[str, dict] = {}
        for path in self.store.glob("runs/*/state-*.json"):
            try:
                info = json.loads(path.read_text())
            except (OSError, ValueError):  # being replaced at this moment
                continue
            known = newest.get(path.parent.name)
            if known is None or info["serial"] > known["serial"]:
                newest[path.parent.name] = info
        return {folder: info["cursor"] for folder, info in newest.items()}

    def kill_after(self, job: Job, out: str, saves: int, delay: float, more: int = MORE) -> None:
        """Start the job, and SIGKILL it some states and a moment later, while it trains."""
        process = self.start(job, out, 0, saves, more)
        until(self.reached.exists, process)
        time.sleep(delay)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()


def until(ready: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait until something is so; fail where it takes too long, or the process ended."""
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end, "nothing happened in two minutes"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)


def _serial(path: Path) -> int:
    try:
        return json.loads(path.read_text())["serial"]
    except (OSError, ValueError):
        return 0


def attempts(shop: Shop) -> list[int]:
    files = shop.store.glob("runs/*/attempts.jsonl")
    return sorted(len(path.read_text().splitlines()) for path in files)


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Shop:
    """Teachers and students that were never killed, saving no state on the way."""
    shop = Shop(tmp_path_factory.mktemp("straight"))
    shop.teachers = shop.finish(shop.job("teacher"), "teachers.json")
    shop.students = shop.finish(shop.job("student"), "students.json")
    assert attempts(shop) == [1] * 6
    return shop


@pytest.mark.parametrize("seed", [0, 1])
def test_teachers_killed_at_random_moments_end_as_if_never_killed(straight, tmp_path, seed):
    shop, draw = Shop(tmp_path), random.Random(seed)
    job = shop.job("teacher")
    within_an_epoch = 0
    for _ in range(4):  # two states a step, so 14 at most are less than a fourth of the training
        shop.kill_after(job, "out.json", draw.randint(3, 10), draw.random() * 0.05)
        within_an_epoch += any(step > 0 for _, _, step in shop.cursors().values())
    assert within_an_epoch > 0
    assert shop.finish(job, "out.json") == straight.teachers
    assert max(attempts(shop)) == 5


def test_students_killed_at_random_moments_end_as_if_never_killed(straight, tmp_path):
    shop, draw = Shop(tmp_path), random.Random(2)
    assert shop.finish(shop.job("teacher"), "teachers.json") == straight.teachers
    for _ in range(3):
        shop.kill_after(shop.job("student"), "out.json", draw.randint(6, 24), draw.random() * 0.05)
    assert shop.finish(shop.job("student"), "out.json") == straight.students


def test_a_job_whose_members_stand_at_unequal_cursors_ends_as_if_never_killed(straight, tmp_path):
    shop = Shop(tmp_path)
    first = "digits/wrn_10_1/soteacher/seed0"
    shop.kill_after(shop.job("teacher", first), "out.json", 9, 0.01)  # at step 8 or later
    shop.kill_after(shop.job("teacher"), "out.json", 5, 0.01)  # the other one at step 4 at most
    cursors = list(shop.cursors().values())
    assert len(cursors) == 2 and cursors[0] != cursors[1]
    assert shop.finish(shop.job("teacher"), "out.json") == straight.teachers


def test_a_damaged_newest_state_falls_back_to_the_one_before(straight, tmp_path):
    shop = Shop(tmp_path)
    job = shop.job("teacher", "digits/wrn_10_1/standard/seed0")
    shop.kill_after(job, "out.json", 4, 0, more=0)  # the fourth state is that before step 3
    [folder] = {path.parent for path in shop.store.glob("runs/*/state-*.json")}
    newest = max(folder.glob("state-*.json"), key=_serial).with_suffix(".safetensors")
    newest.write_bytes(newest.read_bytes()[:-100])
    done = shop.finish(job, "out.json")
    run_id = "digits/wrn_10_1/standard/seed0"
    assert done["runs"][run_id] == straight.teachers["runs"][run_id]
    _, second = (folder / "attempts.jsonl").read_text().splitlines()
    assert json.loads(second)["from"] == ["MAIN", 0, 2]
    assert json.loads(second)["cpu_capability"] == torch.backends.cpu.get_cpu_capability()


def test_sigterm_saves_the_state_at_once_and_the_next_start_goes_on_from_there(straight, tmp_path):
    shop = Shop(tmp_path)
    job = shop.job("teacher")
    process = shop.start(job, "out.json", 0, 10, 0)
    until(shop.reached.exists, process)
    before = shop.cursors()
    process.terminate()
    shop.go.touch()
    started = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert time.monotonic() - started < 10
    assert "states are saved" in said and "Traceback" not in said
    after = shop.cursors()
    assert all(after[folder] >= before[folder] for folder in before)
    process = shop.start(job, "out.json", save_every=60)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    _, epoch, step = next(iter(after.values()))
    assert f"attempt 2, resuming from main epoch {epoch + 1} step {step + 1}" in said
    assert read_json(shop.path / "out.json", "the manifest") == straight.teachers


def test_of_two_processes_asked_for_one_run_one_trains_and_the_other_waits(straight, tmp_path):
    shop = Shop(tmp_path)
    job = shop.job("teacher")
    first = shop.start(job, "first.json", 60, 1, 0)
    until(shop.reached.exists, first)
    second, lines = shop.start(job, "second.json", 60), []

    def listen():
        for line in second.stderr:
            lines.append(line)

    reader = threading.Thread(target=listen)
    reader.start()
    until(lambda: any("waiting for process" in line for line in lines), second)
    shop.go.touch()
    said = [first.communicate(timeout=300)[1]]
    second.wait(timeout=300)
    reader.join()
    said.append("".join(lines))
    processes = (first, second)
    assert [process.returncode for process in processes] == [0, 0], said
    assert ["waiting for process" in text for text in said] == [False, True]
    assert attempts(shop) == [1, 1]
    first, second = (read_json(shop.path / f"{n}.json", "it") for n in ("first", "second"))
    assert first == second == straight.teachers
