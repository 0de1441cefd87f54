"""The training loop does what the formulas say, and leaves what it promises."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from soteacher.core.random import generator, key, seeded
from soteacher.models import catalogue
from soteacher.training import loop, passes, state
from soteacher.training.evaluate import Evaluator
from soteacher.training.learner import Learner
from soteacher.training.loop import run_pass

ANCHORED = '''
"""Distillation from the teacher as it was when it was as old as the student."""

from __future__ import annotations

from soteacher.distillers.kd import KD
from soteacher.core.registry import register


@register
class Anchored(KD):
    """The settings and losses of `kd`."""

    def teacher_epoch(self, epoch: int, epochs: int, last: int) -> int:
        """Return the 1-based number of the student's epoch."""
        return epoch + 1
'''

SOTEACHER = {"soteacher": {"lipschitz": {"weight": 1e-3}, "consistency": {"weight": 2.0}}}


def normalised(data, images):
    """(B, 8, 8, 3) bytes to (B, 3, 8, 8), in channels_last."""
    mean, std = (np.float32(data.manifest[name]) for name in ("mean", "std"))
    scaled = (np.float32(images) / np.float32(255) - mean) / std
    return torch.from_numpy(scaled).permute(0, 3, 1, 2)


def views(data, run, epoch):
    """All training images as they are seen in an epoch, in its order, and their rows."""

    def draw(purpose):
        return generator(
            key(run.spec.to_json()["seed"], run.spec.to_json()["role"], purpose, "MAIN", epoch)
        )

    padding, n = run.spec.to_json()["stream"]["crop_padding"], len(data.array("train_images"))
    order = torch.randperm(n, generator=draw("order"))
    offsets = torch.randint(0, 2 * padding + 1, (n, 2), generator=draw("crop"))
    flips = torch.rand(n, generator=draw("flip")) < run.spec.to_json()["stream"]["flip"]
    seen = []
    for image, (top, left), flip in zip(
        data.array("train_images")[order.numpy()], offsets.tolist(), flips.tolist(), strict=True
    ):
        padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
        crop = padded[top : top + 8, left : left + 8]
        seen.append(crop[:, ::-1] if flip else crop)
    return normalised(data, np.stack(seen)), order


def lipschitz(network):
    """Section 4: entries of convolutions, scales of batch norms, columns of linear layers."""
    total = 0.0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            total = total + torch.linalg.vector_norm(layer.weight, 1)
        elif isinstance(layer, nn.BatchNorm2d):
            total = total + (layer.weight.abs() / (layer.running_var + layer.eps).sqrt()).max()
        elif isinstance(layer, nn.Linear):
            total = total + layer.weight.abs().sum(dim=0).max()
    return total


def divergence(logits, taught, temperature):
    """T^2 KL(teacher || student), mean over the batch."""
    wanted, found = ((z / temperature).log_softmax(dim=1) for z in (taught, logits))
    return temperature**2 * (wanted.exp() * (wanted - found)).sum() / len(logits)


def plainly_trained(data, run, teacher=None):
    """The run's network and epochs, from an eager loop of its own.

    Whatever a gradient or a prediction depends on is computed by the kernels that training uses,
    or in other ones that differ by powers of two alone: equal bits are no matter of the CPU.

    teacher : function of a student's 0-based epoch that returns the network it learns from.
    """
    recipe, labels = run.spec.to_json()["recipe"], torch.tensor(data.array("train_labels"))
    with seeded(key(run.spec.to_json()["seed"], run.spec.to_json()["role"], "initial weights")):
        network = catalogue.build(run.spec.to_json()["network"]["name"], data.n_classes)
    network.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(
        network.parameters(), lr=recipe["lr"], momentum=0.9, weight_decay=5e-4, fused=True
    )
    remembered = torch.zeros(len(labels), data.n_classes)
    history = []
    for epoch in range(recipe["epochs"]):
        for group in sgd.param_groups:
            group["lr"] = recipe["lr"] * 0.1 ** sum(past <= epoch for past in recipe["decay_at"])
        images, order = views(data, run, epoch)
        steps, correct = [], 0
        for batch, rows in zip(
            images.split(recipe["batch"]), order.split(recipe["batch"]), strict=True
        ):
            logits = network.train()(batch).logits
            losses = {"ce": functional.cross_entropy(logits, labels[rows])}
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(epoch)(batch).logits
                losses = {"ce": 0.5 * losses["ce"], "kd": 0.5 * divergence(logits, taught, 4.0)}
            if run.spec.to_json()["terms"].get("lipschitz"):
                losses["lipschitz"] = 1e-3 * lipschitz(network)
            if run.spec.to_json()["terms"].get("consistency"):
                found = logits.softmax(dim=1)
                if epoch > 0:
                    distance = (found - remembered[rows]).square().sum(dim=1).mean()
                    losses["consistency"] = 2.0 * ((epoch + 1) / recipe["epochs"]) * distance
                share = 1 / (epoch + 2) if epoch > 0 else 1.0  # the first prediction counts twice
                shares = torch.full((len(rows), 1), share)  # one number would be another kernel
                remembered[rows] = torch.lerp(remembered[rows], found.detach(), shares)
            sgd.zero_grad()
            sum(losses.values()).backward()
            sgd.step()
            steps.append(losses)
            correct += (logits.argmax(dim=1) == labels[rows]).sum().item()
        row = {"lr": sgd.param_groups[0]["lr"], "train_top1": correct / len(labels)}
        with torch.no_grad():
            found = network.eval()(normalised(data, data.array("test_images"))).logits.argmax(dim=1)
        row["test_top1"] = (found.numpy() == data.array("test_labels")).mean()
        for name in losses:
            row[f"loss_{name}"] = np.mean([step[name].item() for step in steps])
        history.append(row)
    return network, history


def loaded(lab, run, name="weights.safetensors"):
    """A network with weights from the store, in eval mode."""
    network = catalogue.build(run.spec.to_json()["network"]["name"], lab.data.n_classes)
    network.load_state_dict(load_file(lab.folder(run).artifact(name)))
    return network.to(memory_format=torch.channels_last).eval()


def assert_same_state(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    assert [name for name in expected if not found[name].cpu().equal(expected[name].cpu())] == []


def assert_same_history(found, expected):
    assert [(row["stage"], row["epoch"]) for row in found] == [("main", c) for c in "123"]
    for row, wanted in zip(found, expected, strict=True):
        measured = {k: float(v) for k, v in row.items() if k not in ("stage", "epoch") and v}
        assert measured == pytest.approx(wanted, rel=1e-5)


@pytest.mark.cpu_only("compares with a loop on the CPU, bit for bit")
@pytest.mark.parametrize("batch", [40, 64], ids=["short last batch", "one step an epoch"])
def test_a_teacher_is_trained_as_the_formulas_say_bit_for_bit(lab, batch):
    recipe = {"epochs": 3, "batch": batch, "lr": 0.05, "decay_at": [2]}
    [teacher], _ = lab.plan(teachers=SOTEACHER, recipes={"short": recipe})
    lab.run([teacher])
    network, history = plainly_trained(lab.data, teacher)
    assert_same_state(loaded(lab, teacher), network)
    assert_same_history(lab.history(teacher), history)


@pytest.mark.cpu_only("compares with a loop on the CPU, bit for bit")
def test_a_student_is_trained_as_the_formulas_say_bit_for_bit(lab):
    [teacher], [student] = lab.plan(teachers=SOTEACHER, seeds=[3])
    lab.run([teacher])
    lab.run([student])
    network, history = plainly_trained(lab.data, student, lambda epoch: loaded(lab, teacher))
    assert_same_state(loaded(lab, student), network)
    assert_same_history(lab.history(student), history)


@pytest.mark.cpu_only("compares with a loop on the CPU, bit for bit")
def test_a_student_learns_from_the_teacher_of_the_epoch_that_its_distiller_names(lab, add_part):
    add_part("distiller", "anchored", ANCHORED)
    recipe = {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2], "keep_every": 1}
    [teacher], [student, kd] = lab.plan(
        recipes={"short": recipe}, distillers={"anchored": {}, "kd": {}}
    )
    lab.run([teacher])
    lab.run([student, kd])
    names = ["checkpoints/epoch0001", "checkpoints/epoch0002", "weights"]
    network, _ = plainly_trained(
        lab.data, student, lambda epoch: loaded(lab, teacher, f"{names[epoch]}.safetensors")
    )
    assert_same_state(loaded(lab, student), network)
    assert not loaded(lab, kd).fc.weight.equal(network.fc.weight)


def test_64_images_are_learnt_by_heart(lab):
    recipe = {"epochs": 20, "batch": 8, "lr": 0.05, "decay_at": [14]}  # twice what most seeds take
    [teacher], [student] = lab.plan(
        data={"few": {"source": "few_digits"}}, recipes={"short": recipe}
    )
    lab.run([teacher])
    lab.run([student])
    images = normalised(lab.data, lab.data.array("train_images"))
    for run in (teacher, student):
        assert float(lab.history(run)[-1]["train_top1"]) >= 0.95
        found = loaded(lab, run)(images).logits.argmax(dim=1)
        assert (found.numpy() == lab.data.array("train_labels")).mean() >= 0.95


@pytest.mark.cpu_only("compares logits with those of the CPU, bit for bit")
def test_what_a_run_leaves_fits_together(lab, monkeypatch):
    """The third epoch's score is raised by 2, so that it is the best one and the last is not."""
    top1, told = Evaluator.top1, []

    def raised(evaluator, network):
        told.append(top1(evaluator, network) + (2 if len(told) % 5 == 2 else 0))
        return told[-1]

    monkeypatch.setattr(Evaluator, "top1", raised)
    recipe = {"epochs": 5, "batch": 16, "lr": 0.1, "decay_at": [2, 4], "decay": 0.5}
    [teacher], [student] = lab.plan(recipes={"short": recipe}, seeds=[2])
    lab.run([teacher])
    lab.run([student])
    images = normalised(lab.data, lab.data.array("test_images"))
    for run, scored in ((teacher, told[:5]), (student, told[5:])):
        history = lab.history(run)
        assert [int(row["epoch"]) for row in history] == [1, 2, 3, 4, 5]
        assert [float(row["lr"]) for row in history] == [0.1, 0.1, 0.05, 0.05, 0.025]
        logits = np.load(lab.folder(run).artifact("test_logits.npy"))
        with torch.no_grad():
            assert np.array_equal(loaded(lab, run)(images).logits.numpy(), logits)
        accuracy = (logits.argmax(axis=1) == lab.data.array("test_labels")).mean()
        assert [float(row["test_top1"]) for row in history] == scored
        assert scored[-1] == accuracy
        assert lab.record(run)["last_test_top1"] == accuracy
        assert lab.record(run)["best_test_top1"] == max(scored) == scored[2]


@pytest.mark.parametrize(("epochs", "kept"), [(5, [2, 4]), (4, [2])])
def test_a_teacher_keeps_the_checkpoints_of_its_recipe_and_no_others(lab, epochs, kept):
    recipe = {"batch": 40, "lr": 0.05, "decay_at": []}
    two = {"short": {"epochs": 2, **recipe}}
    more = {"short": {"epochs": epochs, "keep_every": 2, **recipe}}
    [short], _ = lab.plan(recipes=two)
    [teacher], [student] = lab.plan(recipes=more)
    other = lab.copy()
    other.run([short])
    lab.run([teacher])
    names = [f"checkpoints/epoch{epoch:04d}.safetensors" for epoch in kept]
    assert [name for name in lab.record(teacher)["artifacts"] if "/" in name] == names
    path = lab.folder(teacher).path
    assert sorted(str(found.relative_to(path)) for found in path.glob("checkpoints/*")) == names
    assert_same_state(loaded(lab, teacher, names[0]), loaded(other, short))
    lab.run([student])
    assert not (lab.folder(student).path / "checkpoints").exists()


def test_distillation_leaves_the_teacher_as_it_is(lab, monkeypatch):
    [teacher], [student] = lab.plan()
    lab.run([teacher])
    seen = []

    def watched(learners, stream, taught, *rest):
        seen.append(taught)
        return run_pass(learners, stream, taught, *rest)

    monkeypatch.setattr(passes, "run_pass", watched)
    lab.run([student])
    network = seen[-1].network
    assert_same_state(network, loaded(lab, teacher))
    assert [p.grad for p in network.parameters() if p.grad is not None or p.requires_grad] == []
    assert not any(module.training for module in network.modules())


def test_two_seeds_differ(lab):
    teachers, students = lab.plan(seeds=[0, 1])
    entries = [*lab.run(teachers).values(), *lab.run(students).values()]
    for name in ("weights.safetensors", "test_logits.npy"):
        assert len({entry["artifacts"][name] for entry in entries}) == 4


class Clock:
    """Time that passes only in steps and in saves; it notes when a save began."""

    def __init__(self, monkeypatch, step_seconds, save_seconds):
        self.now, self.saves, self.steps = 0.0, [], 0
        step, save = Learner.step, state.save

        def stepping(learner, batch, teacher):
            step(learner, batch, teacher)
            self.now += step_seconds
            self.steps += 1

        def saving(learner):
            save(learner)
            self.saves.append(self.now)
            self.now += save_seconds

        monkeypatch.setattr(Learner, "step", stepping)
        monkeypatch.setattr(state, "save", saving)
        monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.mark.parametrize(
    ("step_seconds", "save_seconds", "save_every", "expected"),
    [
        # an epoch has two steps; the first save is that of the initial state
        pytest.param(5.1, 0.01, 60.0, 1.0, id="epochs of 10 s, saves of 10 ms: every epoch"),
        pytest.param(5.0, 0.25, 60.0, 1 / 3, id="saves of 0.25 s: at most every 25 s"),
        pytest.param(5.0, 9.0, 60.0, 1 / 6, id="slow saves: every minute, so that no more is lost"),
        pytest.param(1.0, 0.01, 60.0, 1 / 5, id="epochs of 2 s: every 10 s"),
        pytest.param(40.0, 0.01, 60.0, 1.0, id="epochs of 80 s: within them, and never later"),
        pytest.param(5.0, 0.25, 0.0, 2.0, id="after each step, if that is asked for"),
    ],
)
def test_saves_take_at_most_a_percent_of_the_time_and_a_kill_loses_at_most_save_every(
    lab, monkeypatch, step_seconds, save_seconds, save_every, expected
):
    clock = Clock(monkeypatch, step_seconds, save_seconds)
    recipe = {"epochs": 24, "batch": 40, "lr": 0.01, "decay_at": []}
    [teacher], _ = lab.plan(recipes={"short": recipe})
    lab.run([teacher], save_every)
    first, *saves = clock.saves
    assert (first, clock.steps) == (0.0, 48)
    gaps = [later - (earlier + save_seconds) for earlier, later in pairwise(clock.saves)]
    assert max(gaps) <= max(save_every, step_seconds) + step_seconds
    assert len(saves) == pytest.approx(24 * expected, abs=1)
    whole = [gap for gap in gaps[1:] if gap < save_every]
    assert all(gap >= 100 * save_seconds for gap in whole)
