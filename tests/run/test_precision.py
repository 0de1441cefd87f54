"""Runs in TF32 and bfloat16, on CPUs that may lack both: emulation is slow, networks are tiny."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from soteacher.core import registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.data.augment import normalise
from soteacher.models.catalogue import build
from soteacher.training import device
from soteacher.training.forward import forward
from soteacher.training.learner import Learner

PAIR = {"data": "few", "teacher": "wrn_10_1", "student": "wrn_10_1"}
PAIR |= {"teacher_recipe": "two", "student_recipe": "one"}
RECIPE = {"batch": 40, "lr": 0.02, "decay_at": []}
RECIPES = {"one": RECIPE | {"epochs": 1}, "two": RECIPE | {"epochs": 2}}
"""Teachers have two epochs, because the consistency term has no first one."""
SETTINGS = {
    "ab": {"prepare_epochs": 1},
    "crd": {"negatives": 8},
    "ft": {"prepare_epochs": 1},
    "rco": {"anchors": 1},
    "sskd": {"prepare_epochs": 1},
}
DISTILLERS = {name: SETTINGS.get(name, {}) for name in registry.shipped("distiller")}
TEACHERS = {name: {name: {}} for name in registry.shipped("regularizer")} | {"standard": {}}


def planned(lab, precision, **changes):
    """The teachers, and the students of the Standard one."""
    changes = {"teachers": TEACHERS, "distillers": DISTILLERS, "recipes": RECIPES} | changes
    teachers, students = lab.plan(precision=precision, pairs={"wrn_10_1": PAIR}, **changes)
    return teachers, [run for run in students if "/standard/" in run.teacher.id]


@pytest.fixture
def able(monkeypatch):
    """A CPU that has instructions for bfloat16, as far as the check can tell."""
    known = {"flags": "avx512_bf16", "model name": "A CPU"}
    monkeypatch.setattr(device, "_cpu_info", lambda name: known[name])


def weights(lab, run):
    return load_file(lab.folder(run).artifact("weights.safetensors"))


def flat(values):
    return torch.cat([value.flatten() for value in values.values() if value.is_floating_point()])


def test_every_method_trains_in_bfloat16_near_float32(lab, able, monkeypatch):
    seen = set()
    losses = Learner.losses

    def watched(learner, batch, output, teacher):
        found = losses(learner, batch, output, teacher)
        outputs = [one for one in (output, teacher) if one is not None]
        tensors = [value for one in outputs for value in (one.logits, *one.features.values())]
        seen.update(
            value.dtype for value in (*tensors, *found.values(), *learner.values().values())
        )
        return found

    monkeypatch.setattr(Learner, "losses", watched)
    for precision in ("float32", "bfloat16"):
        for runs in planned(lab, precision):
            assert {entry["status"] for entry in lab.run(runs).values()} == {"done"}
            assert {lab.record(run)["trained_on"]["precision"] for run in runs} == {precision}
    assert seen == {torch.float32, torch.int64}  # those that count batches
    exact, rounded = ([*t, *s] for t, s in (planned(lab, p) for p in ("float32", "bfloat16")))
    assert len(exact) == len(DISTILLERS) + len(TEACHERS)
    for one, other in zip(exact, rounded, strict=True):
        assert one.id == other.id and one.spec.pass_key != other.spec.pass_key
        theirs, ours = flat(weights(lab, one)), flat(weights(lab, other))
        assert ours.dtype == torch.float32
        assert 0 < (ours - theirs).norm() / theirs.norm() < 0.1, one.id
        for name, value in last_losses(lab, one).items():
            assert last_losses(lab, other)[name] == pytest.approx(value, rel=0.05), (one.id, name)


def last_losses(lab, run):
    """The named losses of the last epoch; those of a first stage are empty there."""
    row = lab.history(run)[-1]
    return {name: float(row[name]) for name in row if name.startswith("loss_") and row[name]}


def test_killed_and_gone_on_in_bfloat16_is_the_same_as_never_killed(lab, able, kill):
    some = {name: DISTILLERS[name] for name in ("crd", "fitnet")}
    of_both = {"soteacher": {"lipschitz": {}, "consistency": {}}, "standard": {}}
    teachers, students = planned(lab, "bfloat16", distillers=some, teachers=of_both)
    copy = lab.copy()
    for runs, name, moment in (
        (teachers, "standard/seed0", Cursor(Stage.MAIN, 1, 0)),
        (students, "crd", Cursor(Stage.MAIN, 0, 0)),
    ):
        with kill(name, moment):
            lab.run(runs, save_every=0)
        assert lab.run(runs) == copy.run(runs)
        assert {len(lab.record(run)["attempts"]) for run in runs} == {2}


@pytest.mark.cpu_only("compares logits with those of the CPU, bit for bit")
def test_measures_of_a_bfloat16_run_are_those_of_its_weights_in_float32(lab, able):
    [run], _ = planned(lab, "bfloat16", teachers={"standard": {}})
    lab.run([run])
    network = build("wrn_10_1", 10).to(memory_format=torch.channels_last).eval()
    network.load_state_dict(weights(lab, run))
    mean, std = (torch.tensor(lab.data.manifest[name]) for name in ("mean", "std"))
    images = normalise(torch.from_numpy(lab.data.array("test_images")), mean, std)
    with torch.no_grad():
        expected = network(images).logits.numpy()
    assert np.array_equal(np.load(lab.folder(run).artifact("test_logits.npy")), expected)


@pytest.mark.parametrize("name", ["wrn_10_1", "resnet8x1", "resnet18", "shufflenet_v2"])
def test_autocast_leaves_batch_norms_in_float32_arithmetic(name):
    """A batch norm in bfloat16 is that of float32 on the same values, rounded once."""
    torch.manual_seed(0)
    network = build(name, 10).to(memory_format=torch.channels_last).train()
    products, norms = set(), []

    def watched(layer, inputs, output):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            products.add(output.dtype)
        elif isinstance(layer, nn.BatchNorm2d):
            exact = nn.BatchNorm2d(layer.num_features)(inputs[0].float())
            norms.append(layer)
            assert output.dtype == torch.bfloat16
            torch.testing.assert_close(output.float(), exact, rtol=2**-8, atol=1e-5)

    for layer in network.modules():
        layer.register_forward_hook(watched)
    images = torch.randn(8, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    output = forward(network, images, "bfloat16")
    assert products == {torch.bfloat16} and norms
    assert {value.dtype for value in (output.logits, *output.features.values())} == {torch.float32}
    for layer in norms:
        values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
        assert {value.dtype for value in values} == {torch.float32}
    output.logits.square().mean().backward()
    assert {parameter.grad.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.cpu_only("shows that a CPU has no TF32")
def test_tf32_on_a_cpu_gives_float32_s_bits_and_says_float32(lab):
    found = {}
    for precision in ("float32", "tf32"):
        teachers, students = planned(
            lab, precision, teachers={"standard": {}}, distillers={"kd": {}}
        )
        entries = {**lab.run(teachers), **lab.run(students)}
        found[precision] = {run: entry["artifacts"] for run, entry in entries.items()}
        for run in (*teachers, *students):
            trained_on = lab.record(run)["trained_on"]
            assert trained_on["precision"] == "float32"
            assert not any(trained_on["tf32"].values())
    assert len(lab.stored("teacher")) == len(lab.stored("student")) == 2
    assert found["tf32"] == found["float32"]


@pytest.mark.cpu_only("shows what a CPU without bfloat16 does")
def test_a_cpu_without_bfloat16_refuses_the_job_and_leaves_nothing(lab, monkeypatch):
    known = {"flags": "fpu avx2", "model name": "A CPU"}
    monkeypatch.setattr(device, "_cpu_info", lambda name: known[name])
    [run], _ = planned(lab, "bfloat16", teachers={"standard": {}})
    with pytest.raises(UserError, match=r"but this CPU \(A CPU\) has no instructions for it"):
        lab.run([run])
    assert not lab.folder(run).finished() and lab.folder(run).load_state() is None
