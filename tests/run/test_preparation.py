"""Methods of two stages: the first one trains parts of the student, or something of the teacher."""

from __future__ import annotations

import csv
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.random import key, seeded
from soteacher.training.learner import Learner
from soteacher.training.teacher import FrozenTeacher

CONNECTOR = '''
"""Features first: the student's are fitted to the teacher's before it is distilled."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PrivateAttr

from soteacher.distillers.base import Distiller
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.terms import Preparation


@register
class Connector(Distiller):
    """Two epochs of MSE between pooled features, the student's through a linear connector."""

    trains: Literal["network", "stages", "body", "connector"] = "network"
    """What the first stage trains; the connector in any case."""

    _connector: Any = PrivateAttr()

    def build(self, context):
        [into], [out] = context.student_features["pooled"], context.teacher_features["pooled"]
        self._connector = torch.nn.Linear(into, out)
        return {"connector": self._connector}

    def preparation(self, context, network, modules):
        if network is None:
            return None
        trained = dict(modules)
        if self.trains == "network":
            trained["network"] = network
        if self.trains == "stages":
            trained["stages"] = network.stages
        if self.trains == "body":
            trained["body"] = torch.nn.ModuleList([network.conv, network.stages])
        return Preparation(2, lambda epoch: 0.02, trained, self._features, student=True)

    def method_losses(self, batch, output, teacher, network):
        return {"connected": 0.1 * self._features(batch, output, teacher)["features"]}

    def _features(self, batch, output, teacher):
        found = self._connector(output.features["pooled"])
        return {"features": torch.nn.functional.mse_loss(found, teacher.features["pooled"])}
'''

SQUEEZED = '''
"""An autoencoder of the teacher's features comes first; the student is fitted to its codes."""

from __future__ import annotations

from typing import Any

from pydantic import PrivateAttr

from soteacher.distillers.base import Distiller
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.terms import Preparation

received = []
"""What has come to the students of this process."""


@register
class Squeezed(Distiller):
    """Two epochs of an autoencoder of pooled features, then MSE to the codes."""

    width: int = 4
    """Size of a code."""

    _translator: Any = PrivateAttr()

    def build(self, context):
        self._translator = torch.nn.Linear(*context.student_features["pooled"], self.width)
        return {"translator": self._translator}

    def preparation(self, context, network, modules):
        nn, [size] = torch.nn, context.teacher_features["pooled"]
        squeeze = nn.Sequential(nn.Linear(size, self.width), nn.BatchNorm1d(self.width))
        restore = nn.Linear(self.width, size)

        def loss(batch, output, teacher):
            wanted = teacher.features["pooled"]
            return {"restored": nn.functional.mse_loss(restore(squeeze(wanted)), wanted)}

        trained = {"squeeze": squeeze, "restore": restore}
        return Preparation(2, lambda epoch: 0.05 / (epoch + 1), trained, loss, student=False)

    def receive(self, prepared):
        super().receive(prepared)
        received.append(prepared)

    def method_losses(self, batch, output, teacher, network):
        code = self._prepared["squeeze"](teacher.features["pooled"])
        found = self._translator(output.features["pooled"])
        return {"code": torch.nn.functional.mse_loss(found, code)}
'''

PAIR = {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}
TWO_STUDENTS = {"wrn_10_2/wrn_10_1": PAIR, "wrn_10_2/wrn_16_1": PAIR}


@pytest.fixture
def connector(add_part):
    return add_part("distiller", "connector", CONNECTOR)


@pytest.fixture
def squeezed(add_part, monkeypatch):
    part = add_part("distiller", "squeezed", SQUEEZED)
    monkeypatch.setattr(part, "received", [])
    return part


def students_of_a_trained_teacher(lab, **changes):
    teachers, students = lab.plan(**changes)
    lab.run(teachers)
    return students


def done_apart(lab, jobs):
    """Entries of runs trained job by job in a copy of the lab, and artifacts of preparations."""
    copy = lab.copy()
    entries = {}
    for runs in jobs:
        entries |= copy.run(runs)
    return entries, [folder.record()["artifacts"] for folder in copy.stored("preparation")]


# -- a first stage that trains the student ------------------------------------------------------


@pytest.mark.parametrize(
    ("trains", "changed"),
    [
        ("network", ("conv.", "stages.", "bn.")),
        ("stages", "stages."),
        ("body", ("conv.", "stages.")),
        ("connector", ()),
    ],
)
def test_the_first_stage_trains_what_it_says_and_nothing_else(
    lab, connector, monkeypatch, trains, changed
):
    [run] = students_of_a_trained_teacher(lab, distillers={"connector": {"trains": trains}})
    step, before = Learner.step, []

    def watched(learner, batch, teacher):
        before.append((batch.cursor, deepcopy(learner.network.state_dict())))
        if batch.cursor == Cursor(Stage.MAIN, 0, 0):
            assert not learner.optimizer.momenta, "momentum of the first stage is left"
        step(learner, batch, teacher)

    monkeypatch.setattr(Learner, "step", watched)
    lab.run([run])
    states = dict(before)
    initial, prepared = states[Cursor(Stage.PREPARE, 0, 0)], states[Cursor(Stage.MAIN, 0, 0)]
    found = {name for name in initial if not prepared[name].equal(initial[name])}
    assert found == {name for name in initial if name.startswith(changed)}


def test_the_first_stage_has_its_own_learning_rate_and_ends_in_the_recipes(lab, connector):
    [run] = students_of_a_trained_teacher(lab, distillers={"connector": {}})
    lab.run([run])
    history = lab.history(run)
    assert [(row["stage"], row["epoch"], float(row["lr"])) for row in history] == [
        ("prepare", "1", 0.02),
        ("prepare", "2", 0.02),
        ("main", "1", 0.05),
        ("main", "2", 0.05),
        ("main", "3", pytest.approx(0.005)),
    ]
    for row in history:
        losses = {name for name, value in row.items() if name.startswith("loss_") and value}
        main = {"loss_ce", "loss_kd", "loss_connected"}
        assert losses == (main if row["stage"] == "main" else {"loss_features"})


@pytest.mark.parametrize("trains", ["stages", "body"])
def test_a_first_stage_of_a_part_of_the_network_is_saved_and_gone_on_with(
    lab, connector, kill, trains
):
    [run] = students_of_a_trained_teacher(lab, distillers={"connector": {"trains": trains}})
    uninterrupted = lab.copy().run([run])
    with kill(run.id, Cursor(Stage.PREPARE, 1, 0)):
        lab.run([run], save_every=0)
    assert lab.run([run]) == uninterrupted
    assert lab.record(run)["attempts"][1]["from"] == ["PREPARE", 1, 0]


# -- a first stage that trains something of the teacher alone -----------------------------------


def test_what_depends_on_the_teacher_alone_is_trained_once_for_all_its_students(lab, squeezed):
    recipe = {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2]}
    students = students_of_a_trained_teacher(
        lab,
        recipes={"short": recipe, "long": recipe | {"epochs": 4, "lr": 0.02}},
        pairs={**TWO_STUDENTS, "wrn_10_2/wrn_10_2": PAIR | {"student_recipe": "long"}},
        distillers={"squeezed": {}},
    )
    entries = lab.run(students)
    assert [entry["status"] for entry in entries.values()] == ["done"] * 3
    [folder] = lab.stored("preparation")
    with open(folder.artifact("history.csv"), newline="") as file:
        rows = [(row["stage"], row["epoch"], float(row["lr"])) for row in csv.DictReader(file)]
    assert rows == [("prepare", "1", 0.05), ("prepare", "2", 0.025)]
    assert len(folder.record()["attempts"]) == 1


def test_a_later_student_takes_what_the_store_has(lab, squeezed, monkeypatch):
    first, second = students_of_a_trained_teacher(
        lab, pairs=TWO_STUDENTS, distillers={"squeezed": {}}
    )
    together = done_apart(lab, [[first, second]])
    lab.run([first])
    step, steps = Learner.step, []

    def counted(learner, batch, teacher):
        steps.append(batch.cursor)
        step(learner, batch, teacher)

    monkeypatch.setattr(Learner, "step", counted)
    lab.run([second])
    assert [(at.stage, at.epoch, at.step) for at in steps] == [
        (Stage.MAIN, epoch, step) for epoch in range(3) for step in range(2)
    ]
    assert {run.id: lab.entries[run.id] for run in (first, second)} == together[0]


def test_other_settings_are_another_preparation(lab, squeezed):
    students = students_of_a_trained_teacher(
        lab, distillers={"squeezed": {}, "narrow": {"method": "squeezed", "width": 2}}
    )
    lab.run(students)
    shapes = {
        tuple(load_file(folder.artifact("weights.safetensors"))["restore.weight"].shape)
        for folder in lab.stored("preparation")
    }
    assert shapes == {(128, 4), (128, 2)}


def test_other_weights_of_the_common_losses_are_no_other_preparation(lab, squeezed):
    students = students_of_a_trained_teacher(
        lab, distillers={"squeezed": {}, "warm": {"method": "squeezed", "temperature": 8, "kd": 2}}
    )
    entries = lab.run(students)
    assert len({entry["fingerprint"] for entry in entries.values()}) == 2
    assert len(lab.stored("preparation")) == 1


def test_what_was_prepared_is_frozen_while_students_train(lab, squeezed):
    lab.run(students_of_a_trained_teacher(lab, pairs=TWO_STUDENTS, distillers={"squeezed": {}}))
    [folder] = lab.stored("preparation")
    trained = load_file(folder.artifact("weights.safetensors"))
    with seeded(key(0, "preparation", "initial modules")):
        assert not torch.nn.Linear(128, 4).weight.equal(trained["squeeze.0.weight"])
    assert len(squeezed.received) == 2
    for received in squeezed.received:
        modules = torch.nn.ModuleDict(received).eval()
        state = modules.state_dict()
        assert state.keys() == trained.keys()
        assert [name for name in trained if not state[name].cpu().equal(trained[name])] == []
        assert not any(p.requires_grad or p.grad is not None for p in modules.parameters())


# -- both, among others -------------------------------------------------------------------------

MIXED = {"kd": {}, "connector": {}, "squeezed": {}}


def test_methods_of_two_stages_in_company_are_the_same_as_alone(lab, connector, squeezed):
    students = students_of_a_trained_teacher(lab, pairs=TWO_STUDENTS, distillers=MIXED)
    together = done_apart(lab, [students])
    assert len({entry["artifacts"]["weights.safetensors"] for entry in together[0].values()}) == 6
    assert len(together[1]) == 1
    assert done_apart(lab, [[student] for student in students]) == together
    assert done_apart(lab, [students[4:], students[:1], students[1:4]]) == together


def test_the_others_wait_for_a_first_stage_and_share_the_teacher_afterwards(
    lab, connector, monkeypatch
):
    distillers = {"kd": {}, "slow": {"method": "connector"}, "warm": {"method": "kd", "kd": 0.9}}
    students = students_of_a_trained_teacher(lab, distillers=distillers)
    asked, moments = FrozenTeacher.__call__, []

    def counted(teacher, batch):
        moments.append(batch.cursor)
        return asked(teacher, batch)

    monkeypatch.setattr(FrozenTeacher, "__call__", counted)
    lab.run(students)
    epochs = [(Stage.PREPARE, 0), (Stage.PREPARE, 1), *((Stage.MAIN, epoch) for epoch in range(3))]
    assert moments == [Cursor(*epoch, step) for epoch in epochs for step in range(2)]


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("preparation/squeezed", Cursor(Stage.PREPARE, 0, 1)),
        ("preparation/squeezed", Cursor(Stage.PREPARE, 1, 1)),
        ("wrn_10_1/connector", Cursor(Stage.PREPARE, 0, 1)),
        ("wrn_10_1/connector", Cursor(Stage.PREPARE, 1, 0)),
        ("wrn_10_1/connector", Cursor(Stage.MAIN, 0, 0)),
        ("wrn_10_1/connector", Cursor(Stage.MAIN, 1, 1)),
        ("wrn_10_1/squeezed", Cursor(Stage.MAIN, 2, 1)),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else f"{value.stage.name}-{value.epoch}-{value.step}"
    ),
)
def test_killed_in_either_stage_and_gone_on_is_the_same_as_never_killed(
    lab, connector, squeezed, kill, name, moment
):
    students = students_of_a_trained_teacher(lab, distillers=MIXED)
    uninterrupted = done_apart(lab, [students])
    with kill(name, moment):
        lab.run(students, save_every=0)
    entries = lab.run(students)
    [preparation] = lab.stored("preparation")
    assert (entries, [preparation.record()["artifacts"]]) == uninterrupted
    [record] = [
        folder.record()
        for folder in [preparation, *lab.stored("student")]
        if folder.id.endswith(name)
    ]
    at = [moment.stage.name, moment.epoch, moment.step]
    assert [attempt["from"] for attempt in record["attempts"]][1:] == [at]
