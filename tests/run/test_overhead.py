"""What is timed are real training steps, taken in turn; nothing but times comes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from soteacher.core import registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.hashing import json_sha256
from soteacher.study.expand import expand
from soteacher.training import device, step_timing
from soteacher.training.learner import Learner
from soteacher.training.members import JobOptions

METHODS = {"standard": {}, "soteacher": {"lipschitz": {"weight": 1e-3}, "consistency": {}}}
SHORT = {"epochs": 3, "batch": 8, "lr": 0.05, "decay_at": [2]}  # eight steps an epoch
MEMORY_FIRST = pytest.mark.cpu_only("on a GPU, steps that measure memory come first")


def asked(lab, steps, teachers, recipe, **changes):
    """What the clock is asked for by a table of the small study."""
    study = lab.whole_plan(teachers=teachers, recipes={"short": recipe}, **changes).study
    kind = registry.get("kind of table", "overhead")
    table = kind(teachers=tuple(teachers), steps=steps)
    return expand(study.model_copy(update={"tables": {"asked": table}})).timed["asked"]


class TimedNetwork:
    """What `time_steps` returned for the small study, and every step that it took."""

    def __init__(self, lab, monkeypatch, steps, teachers=METHODS, recipe=SHORT, **changes):
        self.taken = []
        """(learner, batch, learning rate), in their order."""
        step = Learner.step

        def noted(learner, batch, teacher):
            self.taken.append((learner, batch, learner.optimizer.lr))
            step(learner, batch, teacher)

        self.asked = asked(lab, steps, teachers, recipe, **changes)
        how = JobOptions(lab.store, lab.device, threads=1, deterministic=True, save_every=0)
        with monkeypatch.context() as patched:
            patched.setattr(Learner, "step", noted)
            self.steps, self.methods = step_timing.time_steps(self.asked, {"few": lab.data}, how)

    def learner(self, method):
        """The learner that took steps of a method."""
        [found] = {taken[0] for taken in self.taken if f"/{method}/" in taken[0].folder.id}
        return found

    def order(self):
        """Methods, in the order of their steps."""
        return [learner.folder.id.split("/")[2] for learner, _, _ in self.taken]


@MEMORY_FIRST
def test_the_steps_are_those_of_training_bit_for_bit(lab, monkeypatch, kill):
    """Training is made to begin with the second epoch, as the clock does, and is killed there."""
    timed = TimedNetwork(lab, monkeypatch, steps=3)
    teachers, _ = lab.plan(teachers=METHODS, recipes={"short": SHORT})
    for teacher in teachers:
        with kill("seed0", Cursor(Stage.MAIN, 0, 0)):
            lab.run([teacher])
        tensors, info = lab.folder(teacher).load_state()
        lab.folder(teacher).save_state(tensors, info | {"cursor": ["MAIN", 1, 0]})
        with kill("seed0", Cursor(Stage.MAIN, 1, 7)):
            lab.run([teacher], save_every=0)
        tensors, info = lab.folder(teacher).load_state()
        assert info["cursor"] == ["MAIN", 1, step_timing.WARM_UP + 3]
        learner = timed.learner(teacher.id.split("/")[2])
        found = {f"parts.network.{k}": v for k, v in learner.network.state_dict().items()}
        for index, term in enumerate(learner.terms):
            found |= {f"buffer.{index}.{name}": value for name, value in term.buffers().items()}
        for index, momentum in enumerate(learner.optimizer.momenta.values()):
            found[f"momentum.{index}"] = momentum
        compared = [name for name in tensors if not name.startswith("losses.")]
        assert {*compared} == {*found, "correct"}
        assert [n for n in found if not torch.equal(found[n].cpu(), tensors[n])] == []
        names = {name for name in tensors if name.startswith("losses.")}
        assert ("losses.consistency" in names) == ("soteacher" in teacher.id)


@MEMORY_FIRST
def test_methods_take_turns_and_none_is_always_first(lab, monkeypatch):
    timed = TimedNetwork(lab, monkeypatch, steps=3)
    there, back = ["standard", "soteacher"], ["soteacher", "standard"]
    assert timed.order() == (there + back) * 3 + there
    counted = [(row["step"], row["method"]) for row in timed.steps]
    assert counted == [(k, name) for k in (1, 2, 3) for name in (there if k % 2 else back)]
    assert all(row["seconds"] > 0 and row["network"] == "wrn_10_2" for row in timed.steps)
    # a thread's CPU time is counted in ticks on some systems
    assert all(0 < row["cpu_seconds"] <= row["seconds"] + 0.01 for row in timed.steps)


def test_three_methods_take_turns_too(lab, monkeypatch):
    three = METHODS | {"no_lr": {"consistency": {}}}
    order = TimedNetwork(lab, monkeypatch, steps=2, teachers=three).order()
    assert order[-6:] == [*three, *reversed(three)]


@MEMORY_FIRST
def test_methods_begin_with_the_same_weights_and_see_the_same_batches(lab, monkeypatch):
    seen = {}

    def weights(learner, at):
        if at == Cursor(Stage.MAIN, 0, 0):
            seen[learner.folder.id] = learner.network.conv.weight.detach().clone()
        enter(learner, at)

    enter = Learner.enter
    monkeypatch.setattr(Learner, "enter", weights)
    timed = TimedNetwork(lab, monkeypatch, steps=3)
    first, second = seen.values()
    assert torch.equal(first, second)
    batches = [batch for _, batch, _ in timed.taken]
    assert all(a is b for a, b in zip(batches[::2], batches[1::2], strict=True))
    rows = np.concatenate([batch.indices.cpu() for batch in batches[::2]])
    assert len(set(rows.tolist())) == len(rows) == 56  # of one epoch, without its last batch


@MEMORY_FIRST
def test_steps_go_on_from_epoch_to_epoch_without_their_last_batches_and_from_the_second(
    lab, monkeypatch
):
    recipe = SHORT | {"batch": 30}  # two whole batches and one of 4 images
    timed = TimedNetwork(lab, monkeypatch, steps=3, recipe=recipe)
    at = [(batch.cursor.epoch, batch.cursor.step) for _, batch, _ in timed.taken[::2]]
    assert at == [(1, 0), (1, 1), (2, 0), (2, 1), (1, 0), (1, 1), (2, 0)]
    rates = [lr for _, _, lr in timed.taken[::2]]
    assert rates == pytest.approx([0.05, 0.05, 0.005, 0.005, 0.05, 0.05, 0.005])
    assert {len(batch.labels) for _, batch, _ in timed.taken} == {30}
    assert timed.learner("soteacher").history == []


def test_a_recipe_of_one_epoch_is_timed_in_it(lab, monkeypatch):
    timed = TimedNetwork(lab, monkeypatch, steps=5, recipe=SHORT | {"epochs": 1, "decay_at": []})
    assert {batch.cursor.epoch for _, batch, _ in timed.taken} == {0}


def test_an_epoch_of_one_step_is_refused(lab, monkeypatch):
    with pytest.raises(
        UserError, match="an epoch of wrn_10_2 on 'few' has one step, of at most 64"
    ):
        TimedNetwork(lab, monkeypatch, steps=1, recipe=SHORT | {"batch": 64})


def test_nothing_is_written_into_the_store(lab, monkeypatch):
    TimedNetwork(lab, monkeypatch, steps=2, recipe=SHORT | {"batch": 30, "keep_every": 1})
    assert not lab.store.exists()


@pytest.mark.cpu_only("expects that no peak is measured, as on a CPU")
def test_a_method_s_own_memory_is_told_to_the_byte(lab, monkeypatch):
    methods = METHODS | {"no_cr": {"lipschitz": {}}}
    timed = TimedNetwork(lab, monkeypatch, steps=1, teachers=methods)
    n, k, float32, int32 = 64, 10, 4, 4
    kept = {row["method"]: row["kept_mb"] for row in timed.methods}
    means_and_counts = (n * k * float32 + n * int32) / 1e6
    assert kept == {"standard": 0, "soteacher": means_and_counts, "no_cr": 0}
    assert [row["peak_mb"] for row in timed.methods] == [None] * 3


def test_where_it_was_measured_and_of_which_settings_is_told(lab, monkeypatch):
    timed = TimedNetwork(lab, monkeypatch, steps=1)
    [network] = timed.asked["networks"]
    for row, run in zip(timed.methods, network["runs"], strict=True):
        assert row["spec_sha256"] == json_sha256(run["spec"])
        assert (row["method"], row["threads"], row["precision"]) == (run["method"], 1, "float32")
        assert row["device"] and row["torch"] == torch.__version__


@pytest.mark.parametrize(("precision", "told"), [("tf32", "float32"), ("bfloat16", "bfloat16")])
def test_the_precision_of_the_timed_steps_is_told(lab, monkeypatch, precision, told):
    """A CPU has no TF32, and a GPU that has bfloat16 has it."""
    told = told if lab.device == "cpu" else precision
    known = {"flags": "avx512_bf16", "model name": "A CPU"}
    monkeypatch.setattr(device, "_cpu_info", known.get)
    timed = TimedNetwork(lab, monkeypatch, steps=1, precision=precision)
    assert {row["precision"] for row in timed.methods} == {told}
    assert {learner._precision for learner, _, _ in timed.taken} == {precision}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_peak_is_of_one_method_alone(lab):
    three = METHODS | {"again": {}}
    how = JobOptions(lab.store, "cuda", threads=1, deterministic=True, save_every=0)
    _, methods = step_timing.time_steps(asked(lab, 1, three, SHORT), {"few": lab.data}, how)
    standard, soteacher, again = (row["peak_mb"] for row in methods)
    assert standard == again
    assert soteacher - standard >= 64 * 10 * 4 / 1e6
