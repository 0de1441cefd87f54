"""Errors of a GPU, simulated on the CPU: what they cost, and what is freed after them."""

from __future__ import annotations

import gc
import logging
import sys
import weakref

import pytest
import torch

from soteacher.core.cursor import Stage
from soteacher.core.errors import GpuLost, OutOfMemory, RunsFailed, UserError
from soteacher.data.stream import Stream
from soteacher.models import catalogue
from soteacher.study.cost import PROCESS
from soteacher.training import device as devices
from soteacher.training import memory_limit, passes, rehearsal
from soteacher.training.learner import Learner
from soteacher.training.setup import PassSetup
from soteacher.training.teacher import FrozenTeacher

LOST = torch.AcceleratorError("CUDA error: device-side assert triggered\nmore lines of CUDA's")
THREE = {
    "standard": {},
    "l1": {"l1": {"weight": 1e-4}},
    "lipschitz": {"lipschitz": {"weight": 1e-4}},
}


@pytest.fixture
def break_step(monkeypatch):
    """A function (method, error, epoch) that lets the steps of a run fail from an epoch on."""
    step = Learner.step

    def broken(name, error, epoch=1):
        def fails(learner, batch, teacher):
            if f"/{name}/" in learner.folder.id and batch.cursor.epoch >= epoch:
                raise error
            step(learner, batch, teacher)

        monkeypatch.setattr(Learner, "step", fails)

    yield broken


def test_a_lost_gpu_ends_the_process_and_marks_only_the_run_that_met_it(
    lab, break_step, monkeypatch, caplog
):
    teachers, _ = lab.plan(teachers=THREE)
    expected = lab.copy().run(teachers)
    by_name = {run.id.split("/")[2]: run for run in teachers}
    with monkeypatch.context():
        break_step("lipschitz", LOST)
        with pytest.raises(GpuLost, match=r"in .*/lipschitz/seed0 ends this process") as e:
            lab.run(teachers, save_every=0)
    assert e.value.retry
    assert "device-side assert triggered more lines" in str(e.value)  # in one line
    assert "the others continue" not in caplog.text
    notes = {name: lab.folder(run).failure() for name, run in by_name.items()}
    assert [name for name, note in notes.items() if note] == ["lipschitz"]
    assert all(lab.folder(run).progress()["cursor"][1:] >= [0, 1] for run in teachers)
    monkeypatch.undo()
    assert lab.run(teachers) == expected
    for run in teachers:
        first, second = lab.record(run)["attempts"]
        assert first["from"] == ["MAIN", 0, 0]
        assert second["from"] > first["from"]


def test_a_run_that_loses_the_gpu_each_time_does_not_stop_the_others_for_ever(lab, break_step):
    """From the second attempt on, runs are trained one by one; those that failed come last."""
    teachers, _ = lab.plan(teachers=THREE)
    break_step("l1", LOST, epoch=0)
    for one_by_one in (False, True):
        with pytest.raises(GpuLost):
            lab.run(teachers, one_by_one=one_by_one)
    records = {run.id.split("/")[2]: lab.record(run) for run in teachers}
    assert {name: bool(record) for name, record in records.items()} == {
        "standard": True,
        "l1": False,
        "lipschitz": True,
    }


def test_a_gpu_that_is_lost_by_what_runs_share_marks_none_of_them(lab, monkeypatch):
    teachers, _ = lab.plan(teachers=THREE)

    def fails(stream, cursor):
        raise LOST

    monkeypatch.setattr(Stream, "batch", fails)
    with pytest.raises(GpuLost):
        lab.run(teachers)
    assert not any(lab.folder(run).failure() for run in teachers)
    with pytest.raises(GpuLost):
        lab.run(teachers[:1])
    assert lab.folder(teachers[0]).failure()


@pytest.mark.parametrize(
    ("error", "retry"),
    [(torch.OutOfMemoryError("CUDA out of memory"), True), (ValueError(), False)],
)
def test_after_out_of_memory_the_other_runs_continue_and_the_job_is_worth_a_retry(
    lab, break_step, error, retry
):
    teachers, _ = lab.plan(teachers=THREE)
    break_step("l1", error)
    with pytest.raises(RunsFailed, match=r"1 of 3 runs failed: .*/l1/seed0;") as failed:
        lab.run(teachers)
    assert not isinstance(failed.value, GpuLost)
    assert failed.value.retry is retry
    assert sum(lab.record(run) is not None for run in teachers) == 2


def test_a_failed_preparation_tells_whether_memory_was_lacking(lab, monkeypatch):
    teachers, students = lab.plan(distillers={"ft": {}})
    lab.run(teachers)
    step = Learner.step

    def fails(learner, batch, teacher):
        if batch.cursor.stage == Stage.PREPARE:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(learner, batch, teacher)

    monkeypatch.setattr(Learner, "step", fails)
    with pytest.raises(RunsFailed) as failed:
        lab.run(students)
    assert failed.value.retry
    assert "CUDA out of memory (see the error above)" in lab.folder(students[0]).failure()["why"]


@pytest.mark.cpu_only("says how much memory a process may use, not a GPU")
@pytest.mark.parametrize(("names", "expected"), [(["l1"], UserError), (THREE, OutOfMemory)])
def test_runs_that_do_not_fit_together_may_fit_one_by_one(lab, monkeypatch, names, expected):
    teachers, _ = lab.plan(teachers={name: THREE[name] for name in names})
    monkeypatch.setattr(memory_limit.memory, "available", lambda: PROCESS)
    with pytest.raises(UserError, match=r"needs about .* GB of memory") as refused:
        lab.run(teachers)
    assert type(refused.value) is expected


PLACES = {
    "batch": (Stream, "batch"),
    "teacher": (FrozenTeacher, "__call__"),
    "step": (Learner, "step"),
    "epoch's end": (Learner, "_end_epoch"),
    "setup": (PassSetup, "_shapes"),
    "learner": (Learner, "enter"),
    "save": (passes.state, "save"),
    "resume": (passes.state, "resume"),
    "finish": (passes.records, "finish"),
    "rehearsal": (rehearsal, "_last_losses"),
}


@pytest.mark.parametrize("distiller", ["kd", "ft"])
@pytest.mark.parametrize("place", PLACES)
def test_networks_of_a_failed_pass_are_freed_before_the_next_pass(
    lab, monkeypatch, place, distiller
):
    """Without the garbage collector: nothing keeps them, not the error and its frames either.

    From Python 3.12 on, the frames of some errors that were caught stay until it runs.
    """
    batch = 63 if place == "rehearsal" else 40  # a last batch of one image is rehearsed
    recipes = {"short": {"epochs": 2, "batch": batch, "lr": 0.05, "decay_at": [1]}}
    settings = {"kd": {}, "ft": {"prepare_epochs": 1}}[distiller]
    teachers, students = lab.plan(seeds=[0, 1], recipes=recipes, distillers={distiller: settings})
    lab.run(teachers)
    built, alive, passes_begun = [], [], []
    build, begin = catalogue.build, PassSetup.__init__
    owner, name = PLACES[place]
    original = getattr(owner, name)

    def built_network(*arguments):
        network = build(*arguments)
        built.append(weakref.ref(network))
        return network

    def begun(setup, *arguments):
        alive.append([ref for ref in built if ref() is not None])
        passes_begun.append(setup.__class__)
        begin(setup, *arguments)

    def fails(*arguments, **named):
        if len(passes_begun) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(*arguments, **named)

    monkeypatch.setattr(catalogue, "build", built_network)
    monkeypatch.setattr(PassSetup, "__init__", begun)
    monkeypatch.setattr(owner, name, fails)
    monkeypatch.setattr(logging.getLogger("soteacher"), "propagate", False)  # pytest keeps errors
    released = []

    def release(device):
        released.append(len(alive))
        if sys.version_info >= (3, 12):
            gc.collect()

    monkeypatch.setattr(devices, "release_memory", release)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(RunsFailed, match="1 of 2 runs failed"):
            lab.run(students, save_every=0)
    finally:
        gc.enable()
    assert alive == [[], []]
    assert built
    assert released == [1]  # between the passes
