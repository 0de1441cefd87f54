"""Slots of GPUs, with made-up GPUs: never more processes than slots, spread, freed by a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict

import pytest

from soteacher.core import gpus
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
    said = "\\n".join(f"GPU {i}: NVIDIA H100 (UUID: {uuid})" for i, uuid in enumerate(GPUS))
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\ntest "$*" = "-L" || exit 1\nprintf \'{said}\\n\'\n')
    tool.chmod(0o755)
    (tmp_path / "tmp").mkdir()
    chosen = {gpus.CHOSEN, *gpus.SCHEDULERS, "CUDA_DEVICE_ORDER"}
    environment = {key: value for key, value in os.environ.items() if key not in chosen}
    # the PATH is without this machine's own nvidia-smi
    return environment | {"PATH": str(tool.parent), "TMPDIR": str(tmp_path / "tmp")}


class Takers:
    """Processes that take a slot and hold it until they are told to end, or killed."""

    def __init__(self, environment, per_gpu):
        self._command = [sys.executable, "-c", TAKER, str(per_gpu)]
        self._environment, self.all = environment, []
        self.seen, self._said = {}, defaultdict(str)

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
                if process in self.seen:
                    continue
                self._said[process] += process.stdout.readline()  # it may be a part of the line
                if self._said[process].endswith("\n"):
                    gpu, torch_there = self._said[process].split()
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
    code = "from soteacher.training import gpu_slots; import json, os, pathlib;"
    code += "gpu_slots.gpus.DRIVER = pathlib.Path('/nowhere');"
    code += "gpu_slots.take(1); gpu_slots.take(1);"
    code += "print(json.dumps(dict(os.environ)))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_a_process_takes_one_slot_however_often_it_asks(machine):
    assert take_in(machine)["CUDA_VISIBLE_DEVICES"] == GPUS[0]


@pytest.mark.parametrize(
    "chosen",
    [
        {"CUDA_VISIBLE_DEVICES": ""},
        {"CUDA_VISIBLE_DEVICES": "-1"},
        {"CUDA_VISIBLE_DEVICES": "NoDevFiles"},
        {"CUDA_VISIBLE_DEVICES": "1", "SLURM_JOB_ID": "7"},
        {"CUDA_VISIBLE_DEVICES": "0", "PBS_JOBID": "7"},
    ],
)
def test_nothing_is_done_where_gpus_are_hidden_or_a_scheduler_gave_one(machine, chosen):
    assert take_in(machine | chosen) == machine | chosen


@pytest.mark.parametrize("job", [{}, {"SLURM_JOB_ID": "7"}])
@pytest.mark.parametrize("given", ["0,1", "1, 0", "GPU-bb,GPU-aa", None])
def test_processes_are_spread_over_the_given_gpus(machine, given, job):
    """So it is on a whole node of Slurm; without a list, all that nvidia-smi shows are used."""
    environment = machine | job | ({} if given is None else {"CUDA_VISIBLE_DEVICES": given})
    with Takers(environment, per_gpu=1) as takers:
        takers.begin(3)
        names = {name.strip() for name in (given or "GPU-aa,GPU-bb").split(",")}
        assert Counter(takers.holding(2).values()) == dict.fromkeys(names, 1)
        time.sleep(0.5)  # the third one waits
        assert len(takers.holding(2)) == 2


def test_a_single_given_gpu_has_its_slots(machine):
    with Takers(machine | {"CUDA_VISIBLE_DEVICES": "1"}, per_gpu=2) as takers:
        takers.begin(3)
        assert Counter(takers.holding(2).values()) == {"1": 2}
        time.sleep(0.5)
        assert len(takers.holding(2)) == 2


def test_processes_with_numbers_and_with_uuids_do_not_take_the_same_slot(machine):
    with (
        Takers(machine | {"CUDA_VISIBLE_DEVICES": "1,0"}, per_gpu=1) as numbered,
        Takers(machine | {"CUDA_VISIBLE_DEVICES": "GPU-bb,GPU-aa"}, per_gpu=1) as named,
    ):
        numbered.begin(1)
        assert [*numbered.holding(1).values()] == ["1"]
        named.begin(1)
        assert [*named.holding(1).values()] == ["GPU-aa"]


def test_numbers_without_uuids_are_those_of_one_scheduler_s_job(machine, tmp_path):
    """Each job's first GPU may have the number 0, and be another GPU."""
    (tmp_path / "bin/nvidia-smi").unlink()
    given = machine | {"CUDA_VISIBLE_DEVICES": "0,1"}
    with (
        Takers(given | {"SLURM_JOB_ID": "7"}, per_gpu=1) as one,
        Takers(given | {"SLURM_JOB_ID": "8"}, per_gpu=1) as other,
    ):
        one.begin(1)
        other.begin(1)
        assert [*one.holding(1).values()] == [*other.holding(1).values()] == ["0"]


def test_old_names_of_instances_are_names_of_files(machine):
    name = "MIG-GPU-cc/7/0"
    given = machine | {"CUDA_VISIBLE_DEVICES": f"{name},GPU-bb"}
    assert take_in(given)["CUDA_VISIBLE_DEVICES"] == name


@pytest.mark.parametrize("tool", ["exit 1", "true", "echo No devices were found", None])
def test_nothing_is_done_on_a_machine_without_gpus(machine, tmp_path, tool):
    if tool is None:
        (tmp_path / "bin/nvidia-smi").unlink()
    else:
        (tmp_path / "bin/nvidia-smi").write_text(f"#!/bin/sh\n{tool}\n")
    assert "CUDA_VISIBLE_DEVICES" not in take_in(machine)


def test_a_slot_that_cannot_be_made_is_one_line(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "_held", None)  # of a GPU of this machine, by an earlier test
    for key in (gpus.CHOSEN, *gpus.SCHEDULERS):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(slots.gpus, "usable", lambda: [gpus.Gpu(uuid, uuid) for uuid in GPUS])
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"cannot take a GPU slot: .*No such file"):
        slots.take(1)
    monkeypatch.setattr(slots.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "soteacher-gpu-slots" / f"{GPUS[0]}.0").mkdir(parents=True)
    with pytest.raises(UserError, match="delete that file, or set TMPDIR"):
        slots.take(1)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
