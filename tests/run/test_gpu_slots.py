"""Slots of GPUs, with made-up GPUs: never more processes than slots, spread, freed by a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from soteacher.core.errors import UserError
from soteacher.training import gpu_slots as slots

GPUS = ["GPU-aa", "GPU-bb"]
TAKER = """
import json, os, sys, time
from soteacher.training import gpu_slots as slots
slots.POLL_SECONDS = 0.02
slots.take(int(sys.argv[1]))
print(os.environ["CUDA_VISIBLE_DEVICES"], "torch" in sys.modules, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def machine(tmp_path):
    """An environment in which nvidia-smi tells of two GPUs."""
    said = "\\n".join(GPUS)
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(
        f'#!/bin/sh\ntest "$*" = "--query-gpu=uuid --format=csv,noheader" || exit 1\n'
        f"printf '{said}\\n'\n"
    )
    tool.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    chosen = {"CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"}
    environment = {key: value for key, value in os.environ.items() if key not in chosen}
    path = f"{tool.parent}:{os.environ['PATH']}"
    return environment | {"PATH": path, "TMPDIR": str(tmp_path / "tmp")}


class Takers:
    """Processes that take a slot and hold it until they are told to end, or killed."""

    def __init__(self, environment, per_gpu):
        self._command = [sys.executable, "-c", TAKER, str(per_gpu)]
        self._environment, self.all = environment, []
        self.seen = {}

    def begin(self, count):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        made = [
            subprocess.Popen(self._command, env=self._environment, text=True, **pipes)
            for _ in range(count)
        ]
        for process in made:
            os.set_blocking(process.stdout.fileno(), False)
        self.all += made
        return made

    def holding(self, count, seconds=30):
        """Wait until so many processes hold a slot; process to GPU."""
        found = {}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for process in self.all:
                line = process.stdout.readline() if process not in self.seen else ""
                if line:
                    gpu, torch_there = line.split()
                    assert torch_there == "False"
                    self.seen[process] = gpu
            found = {p: gpu for p, gpu in self.seen.items() if p.poll() is None}
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{len(found)} of {count} hold a slot")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.all:
            process.kill()
            process.communicate()


def test_never_more_than_the_slots_spread_over_the_gpus_and_freed_by_a_kill(machine):
    with Takers(machine, per_gpu=2) as takers:
        takers.begin(2)
        assert Counter(takers.holding(2).values()) == dict.fromkeys(GPUS, 1)
        takers.begin(5)
        assert Counter(takers.holding(4).values()) == dict.fromkeys(GPUS, 2)
        time.sleep(0.5)  # three wait
        assert Counter(takers.holding(4).values()) == dict.fromkeys(GPUS, 2)
        first, gpu = next(iter(takers.holding(4).items()))
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert Counter(takers.holding(4).values()) == dict.fromkeys(GPUS, 2)
        newest = [*takers.seen][-1]
        assert takers.seen[newest] == gpu  # the very slot that the kill freed
        newest.communicate("end\n")
        assert newest.returncode == 0
        assert Counter(takers.holding(4).values()) == dict.fromkeys(GPUS, 2)


def take_in(environment):
    code = "from soteacher.training import gpu_slots; import json, os;"
    code += "gpu_slots.take(1); gpu_slots.take(1);"
    code += "print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_process_takes_one_slot_however_often_it_asks(machine):
    assert take_in(machine)["CUDA_VISIBLE_DEVICES"] == GPUS[0]


@pytest.mark.parametrize(
    "chosen", [{"CUDA_VISIBLE_DEVICES": "3"}, {"CUDA_VISIBLE_DEVICES": ""}, {"SLURM_JOB_ID": "7"}]
)
def test_nothing_is_done_where_a_scheduler_has_chosen(machine, chosen):
    assert take_in(machine | chosen) == machine | chosen


@pytest.mark.parametrize("tool", ["exit 1", "true", None])
def test_nothing_is_done_on_a_machine_without_gpus(machine, tmp_path, tool):
    if tool is None:
        (tmp_path / "bin/nvidia-smi").unlink()
    else:
        (tmp_path / "bin/nvidia-smi").write_text(f"#!/bin/sh\n{tool}\n")
    assert "CUDA_VISIBLE_DEVICES" not in take_in(machine)


def test_a_slot_that_cannot_be_made_is_one_line(machine, tmp_path, monkeypatch):
    for key in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(slots, "_gpus", lambda: GPUS)
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"cannot take a GPU slot: .*No such file"):
        slots.take(1)
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "soteacher-gpu-slots" / f"{GPUS[0]}.0").mkdir(parents=True)
    with pytest.raises(UserError, match="delete that file, or choose the GPU"):
        slots.take(1)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
