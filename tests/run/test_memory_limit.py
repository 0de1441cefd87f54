"""The memory of training: what is estimated before, what is taken, and what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from soteacher.core import memory
from soteacher.core.errors import UserError
from soteacher.data.sources.base import Outline
from soteacher.study.cost import training_bytes
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.training.memory_limit import check_passes

STUDY = {
    "study": "small",
    "seeds": [0],
    "store": "store",
    "device": "cpu",
    "data": {
        "noise": {
            "source": "generated",
            "n_train": 128,
            "n_test": 256,
            "size": 32,
            "n_classes": 100,
        }
    },
    "recipes": {"short": {"epochs": 1, "batch": 64, "lr": 0.01, "decay_at": []}},
    "pairs": {
        "pair": {
            "data": "noise",
            "teacher": "wrn_16_2",
            "student": "wrn_16_2",
            "teacher_recipe": "short",
            "student_recipe": "short",
        }
    },
    "teachers": {"soteacher": {"lipschitz": {}, "consistency": {}}},
    "distillers": {"kd": {}},
    "tables": {
        "one": {
            "kind": "accuracy",
            "teachers": ["soteacher"],
            "distillers": ["kd"],
            "columns": ["teacher.top1"],
        }
    },
}
TRAINED = """
import json, sys
from pathlib import Path
from soteacher.data.prepared import Prepared, folder_of, prepare
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.training.job import run_job
from soteacher.training.members import JobOptions
plan = expand(read(json.loads(sys.argv[1])))
spec, store = plan.data_spec("noise"), Path("store")
manifest = prepare(spec, store)
data = Prepared(folder_of(spec, store), manifest)
runs = {run.id: {"spec": run.spec.to_json()} for run in plan.runs.values()}
run_job(runs, data, {}, JobOptions(store, "cpu", 1, True, 60.0))
# `ru_maxrss` would begin with the memory of the process that started this one
[line] = [s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM:")]
print(int(line.split()[1]) * 1024)
"""


def test_training_takes_the_memory_that_is_estimated(tmp_path):
    [run] = expand(read(STUDY)).runs.values()
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, json.dumps(STUDY)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    taken = int(done.stdout.splitlines()[-1])
    estimate = training_bytes([run.spec], Outline(128, 256, 32, 32, 100))
    assert estimate > 1_200_000_000
    assert 0.65 * estimate < taken < 1.1 * estimate


def test_on_a_gpu_its_own_free_memory_counts(lab, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1_000_000, 80_000_000_000))
    [teacher], _ = lab.plan()
    with pytest.raises(
        UserError, match=r"of memory, but the GPU has 0\.0 GB: use smaller or fewer"
    ):
        check_passes([[teacher.spec]], lab.data.outline, "cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100_000_000, 80_000_000_000))
    monkeypatch.setattr(memory, "available", lambda: 0)
    check_passes([[teacher.spec]], lab.data.outline, "cuda")


@pytest.mark.cpu_only("limits the memory of a process, not that of a GPU")
def test_training_that_does_not_fit_is_refused_before_it_begins(lab, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 500_000_000)
    [teacher], _ = lab.plan()
    with pytest.raises(UserError) as caught:
        lab.run([teacher])
    text = str(caught.value)
    assert text.startswith(
        "training on 114 images of 8x8 pixels needs about 0.8 GB of memory, but "
    )
    assert "this process can use 0.5 GB: use smaller or fewer images, a smaller `batch`," in text
    assert lab.record(teacher) is None
    assert not list(lab.folder(teacher).path.glob("state*"))
