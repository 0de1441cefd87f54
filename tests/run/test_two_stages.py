"""The methods that have a first stage, really trained."""

from __future__ import annotations

import csv
from copy import deepcopy

import pytest
from torch.nn import BatchNorm2d

from soteacher.core.cursor import Cursor, Stage
from soteacher.training.learner import Learner

RECIPE = {"epochs": 2, "batch": 16, "lr": 0.02, "decay_at": [1]}
PAIR = {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}
TWO_STUDENTS = {"wrn_10_2/wrn_10_1": PAIR, "wrn_10_2/wrn_16_1": PAIR}


def students_of(lab, pairs=None, **distillers):
    teachers, students = lab.plan(
        recipes={"short": RECIPE},
        pairs=pairs or {"wrn_10_2/wrn_10_1": PAIR},
        distillers=distillers,
    )
    lab.run(teachers)
    return students


def test_ab_s_first_stage_trains_the_trunk_at_the_recipe_s_first_rate(lab, monkeypatch):
    [run] = students_of(lab, ab={"prepare_epochs": 4})
    step, before = Learner.step, {}

    def watched(learner, batch, teacher):
        before.setdefault(batch.cursor, deepcopy(learner.network.state_dict()))
        step(learner, batch, teacher)

    monkeypatch.setattr(Learner, "step", watched)
    lab.run([run])
    initial, prepared = before[Cursor(Stage.PREPARE, 0, 0)], before[Cursor(Stage.MAIN, 0, 0)]
    found = {name for name in initial if not prepared[name].equal(initial[name])}
    assert found == {name for name in initial if name.startswith(("conv.", "stages."))}
    first = [row for row in lab.history(run) if row["stage"] == "prepare"]
    assert [float(row["lr"]) for row in first] == [0.02] * 4
    losses = [float(row["loss_boundaries"]) for row in first]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.9 * losses[0]
    main = [row for row in lab.history(run) if row["stage"] == "main"]
    assert [row["loss_boundaries"] for row in main] == ["", ""]


def test_ab_updates_each_batch_norm_once_per_step(lab, monkeypatch):
    """The authors' code does so twice for the norms that give maps before the ReLU (A35)."""
    [run] = students_of(lab, ab={"prepare_epochs": 2})
    step, updates = Learner.step, {Stage.PREPARE: [], Stage.MAIN: []}

    def counts(learner):
        norms = {n: m for n, m in learner.network.named_modules() if isinstance(m, BatchNorm2d)}
        return {name: int(norm.num_batches_tracked) for name, norm in norms.items()}

    def watched(learner, batch, teacher):
        before = counts(learner)
        step(learner, batch, teacher)
        updates[batch.cursor.stage].append(
            {name: after - before[name] for name, after in counts(learner).items()}
        )

    monkeypatch.setattr(Learner, "step", watched)
    lab.run([run])
    first, main = updates[Stage.PREPARE], updates[Stage.MAIN]
    assert len(first) == len(main) == 2 * 4
    names = first[0].keys()
    assert {"bn", "stages.1.0.bn1", "stages.2.0.bn1"} < names
    assert all(found == dict.fromkeys(names, 1) for found in main)
    assert all(found == dict.fromkeys(names, 1) | {"bn": 0} for found in first)  # no part of it


@pytest.mark.parametrize(
    ("name", "loss", "others"),
    [
        ("ft", "paraphrased", {"weight": 7, "kd": 0.5}),
        ("sskd", "similarity", {"similarity_weight": 3, "transformed_weight": 1}),
    ],
)
def test_what_the_teacher_alone_decides_is_trained_once_for_all_students(lab, name, loss, others):
    epochs = {"prepare_epochs": 4}
    students = students_of(
        lab, TWO_STUDENTS, **{name: epochs, "other": {"method": name} | epochs | others}
    )
    entries = lab.run(students)
    assert [entry["status"] for entry in entries.values()] == ["done"] * 4
    assert len({entry["fingerprint"] for entry in entries.values()}) == 4
    [folder] = lab.stored("preparation")
    with open(folder.artifact("history.csv"), newline="") as file:
        losses = [float(row[f"loss_{loss}"]) for row in csv.DictReader(file)]
    assert len(losses) == 4
    assert len(folder.record()["attempts"]) == 1


def test_rco_s_students_learn_from_earlier_teachers(lab):
    recipe = RECIPE | {"epochs": 4, "keep_every": 2}
    teachers, students = lab.plan(
        recipes={"short": recipe}, distillers={"rco": {"anchors": 2}, "kd": {}}
    )
    lab.run(teachers)
    lab.run(students)
    kd, rco = sorted(students, key=lambda run: run.id)
    losses = [[row["loss_kd"] for row in lab.history(run)] for run in (kd, rco)]
    assert all(a != b for a, b in zip(*losses, strict=True))
