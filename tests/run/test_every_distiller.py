"""Every registered distiller, really trained: alone or in company, killed or not, on every pair."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from soteacher.core import registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.training.learner import Learner
from soteacher.training.setup import PassSetup
from soteacher.training.teacher import FrozenTeacher

NAMES = registry.shipped("distiller")
SHORT = {
    "ab": {"prepare_epochs": 2},
    "crd": {"negatives": 8},
    "ft": {"prepare_epochs": 2},
    "rco": {"anchors": 3},
    "sskd": {"prepare_epochs": 2},
}
"""Settings for 64 images and three epochs; the other methods keep their defaults."""
RECIPE = {"epochs": 3, "batch": 40, "lr": 0.02, "decay_at": [2], "keep_every": 1}
PAIR = {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}
SAME, TWICE = "wrn_10_2/wrn_10_1", "resnet8x1/shufflenet_v2"
ALL = {name: SHORT.get(name, {}) for name in NAMES}


def students_of_a_trained_teacher(lab, pair=SAME, **distillers):
    teachers, students = lab.plan(
        recipes={"short": RECIPE}, pairs={pair: PAIR}, distillers=distillers or ALL
    )
    lab.run(teachers)
    return students


@pytest.mark.parametrize("pair", [SAME, TWICE])
def test_each_alone_is_the_same_as_in_company(lab, pair):
    students = students_of_a_trained_teacher(lab, pair)
    together = lab.elsewhere([students])
    assert {entry["status"] for entry in together.values()} == {"done"}
    weights = {entry["artifacts"]["weights.safetensors"] for entry in together.values()}
    assert len(weights) == len(NAMES)
    assert lab.elsewhere([[student] for student in students]) == together


@pytest.mark.parametrize("name", NAMES)
def test_killed_and_gone_on_is_the_same_as_never_killed(lab, kill, name):
    [run] = students_of_a_trained_teacher(lab, **{name: ALL[name]})
    uninterrupted = lab.elsewhere([[run]])
    for moment in (Cursor(Stage.MAIN, 0, 0), Cursor(Stage.MAIN, 1, 1)):
        with kill(run.id, moment):
            lab.run([run], save_every=0)
    assert lab.run([run]) == uninterrupted
    assert len(lab.record(run)["attempts"]) == 3


@pytest.mark.parametrize("name", NAMES)
def test_the_teacher_never_changes_and_all_that_the_student_brings_is_trained(
    lab, monkeypatch, name
):
    [run] = students_of_a_trained_teacher(lab, **{name: ALL[name]})
    teachers, frozen, parts = [], {}, {}
    asked, made, step = FrozenTeacher.__call__, PassSetup.learner, Learner.step

    def watched(teacher, batch):
        output = asked(teacher, batch)
        teachers.append(teacher.network)
        state = {key: value.clone() for key, value in teacher.network.state_dict().items()}
        for key, value in frozen.setdefault(teacher._loaded, state).items():
            assert state[key].equal(value), key
        assert not any(value.requires_grad for value in (output.logits, *output.features.values()))
        return output

    def kept(trainer, member, terms):
        learner = made(trainer, member, terms)
        modules = torch.nn.ModuleDict(learner.modules)
        parts[learner] = {key: value.clone() for key, value in modules.named_parameters()}
        return learner

    def stepped(learner, batch, teacher):
        step(learner, batch, teacher)
        if learner in parts and batch.cursor == Cursor(Stage.MAIN, 1, 0):
            modules = torch.nn.ModuleDict(learner.modules)
            left = {k for k, v in modules.named_parameters() if v.equal(parts[learner][k])}
            assert not left
            learner.seen = True

    monkeypatch.setattr(FrozenTeacher, "__call__", watched)
    monkeypatch.setattr(PassSetup, "learner", kept)
    monkeypatch.setattr(Learner, "step", stepped)
    lab.run([run])
    [learner] = parts
    assert learner.seen
    assert all(p.grad is None for network in teachers for p in network.parameters())


def test_methods_that_can_share_a_pass_of_the_teacher_do(lab, monkeypatch):
    students = students_of_a_trained_teacher(lab)
    asked, main = FrozenTeacher.__call__, []

    def counted(teacher, batch):
        if batch.cursor.stage == Stage.MAIN:
            main.append((len(batch.images) // len(batch.labels), teacher._epochs[Stage.MAIN]))
        return asked(teacher, batch)

    monkeypatch.setattr(FrozenTeacher, "__call__", counted)
    lab.run(students)
    steps = 3 * 2
    others = {
        (part.turns, tuple(part(**ALL[name]).teacher_epoch(e, 3, 3) for e in range(3)))
        for name in NAMES
        for part in [registry.get("distiller", name)]
    }
    assert len(others) == 3  # most of them, those with turned views, those with earlier teachers
    assert {pass_: main.count(pass_) for pass_ in main} == dict.fromkeys(others, steps)


def test_no_distiller_is_named_outside_its_own_file():
    """But for the words that also mean something else: `kd` is the loss that nearly all contain."""
    root = Path(__file__).parents[2]
    package = root / "soteacher"
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text())
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        imported = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for name in (node.module, *(alias.name for alias in node.names))
        }
        for name in NAMES:
            if path == package / f"distillers/{name}.py":
                continue
            said = texts - {"ab", "at", "kd"}
            assert name not in said, f"{path.relative_to(root)} names {name}"
            part = registry.get("distiller", name)
            assert not imported & {part.__module__, part.__name__}, path.relative_to(root)
