"""A diverged run is a result and a failed one is an error; neither touches the others of a job."""

from __future__ import annotations

import math

import pytest

from soteacher.core.errors import UserError
from soteacher.data.prepared import Prepared
from soteacher.training import passes
from soteacher.training.learner import Learner

BRITTLE = '''
"""A loss that is infinite for one step and adds a constant, so nothing, in all others."""

from __future__ import annotations

from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.regularizers.base import Regularizer


@register
class Brittle(Regularizer):
    """0.25, but infinite in the first step of the second epoch."""

    def losses(self, batch, output, teacher, network):
        broken = (batch.cursor.epoch, batch.cursor.step) == (1, 0)
        return {"brittle": output.logits.new_full((), float("inf") if broken else 0.25)}
'''

OVERSHOOTING = '''
"""A first stage on the teacher alone whose second loss is infinite."""

from __future__ import annotations

from soteacher.distillers.base import Distiller
from soteacher.core.lazy import torch
from soteacher.core.registry import register
from soteacher.terms import Preparation


@register
class Overshooting(Distiller):
    """Fits a linear layer to the teacher's features, and diverges."""

    def preparation(self, context, network, modules):
        layer = torch.nn.Linear(*context.teacher_features["pooled"], 1)

        def loss(batch, output, teacher):
            scale = float("inf") if batch.cursor.step == 1 else 1.0
            return {"size": scale * layer(teacher.features["pooled"]).square().mean()}

        return Preparation(2, lambda epoch: 0.01, {"layer": layer}, loss, student=False)
'''

FRAGILE = '''
"""Distillation that fails where there is trouble."""

from __future__ import annotations

from soteacher.distillers.base import Distiller
from soteacher.core.registry import register

trouble = ""


@register
class Fragile(Distiller):
    """The common losses, or an exception."""

    def build(self, context):
        if trouble == "build":
            raise RuntimeError("there is trouble")
        return {}

    def preparation(self, context, network, modules):
        if trouble == "preparation":
            raise RuntimeError("there is trouble")

    def method_losses(self, batch, output, teacher, network):
        if trouble == "step" and (batch.cursor.epoch, batch.cursor.step) == (1, 1):
            raise RuntimeError("there is trouble")
        return {}
'''

SHORT = {"epochs": 3, "batch": 40, "lr": 0.05, "decay_at": [2]}
CALM = {"data": "few", "teacher_recipe": "short", "student_recipe": "short"}
THREE_TEACHERS = {
    "wrn_10_2/wrn_10_1": CALM,
    "wrn_16_1/wrn_10_1": CALM,
    "wrn_10_1/wrn_10_1": CALM,
}
THREE_STUDENTS = {
    "wrn_10_2/wrn_10_1": CALM,
    "wrn_10_2/wrn_10_2": CALM,
    "wrn_10_2/wrn_16_1": CALM,
}
STRAY = {"stray": {"straying": {}}}
"""A method that lets teachers diverge in their second step, but of those above only WRN10-2."""


def statuses(runs, entries):
    """The status of each network's run."""
    return {run.spec.to_json()["network"]["name"]: entries[run.id]["status"] for run in runs}


def each_alone(lab, runs):
    """Entries of runs, each of them trained in a copy of the lab of its own."""
    return {run.id: lab.copy().run([run])[run.id] for run in runs}


def weights(folder):
    """The file, its time included: it changes where it is written anew."""
    path = folder.artifact("weights.safetensors")
    return path.read_bytes(), path.stat().st_mtime_ns


@pytest.mark.parametrize(
    ("batch", "epoch", "step", "terms"),
    [
        (16, 1, 2, {"ce", "lipschitz", "straying"}),
        (64, 2, 1, {"ce", "lipschitz", "consistency", "straying"}),
    ],
)
def test_a_teacher_that_diverges_is_a_result_that_says_where_and_what(
    lab, straying, batch, epoch, step, terms
):
    stray = {"epoch": epoch - 1, "step": step - 1}
    [teacher], _ = lab.plan(
        teachers={"soteacher": {"lipschitz": {}, "consistency": {}, "straying": stray}},
        recipes={"short": SHORT | {"batch": batch, "keep_every": 1}},
    )
    entry = lab.run([teacher], save_every=0)[teacher.id]
    record = lab.record(teacher)
    assert record["status"] == entry["status"] == "diverged"
    assert record["diverged"] == entry["diverged"]
    where = record["diverged"]
    assert (where["epoch"], where["step"]) == (epoch, step)
    assert where["terms"].keys() == terms
    assert where["terms"]["straying"] == "inf"
    assert all(math.isfinite(float(where["terms"][name])) for name in terms - {"straying"})
    assert len(lab.history(teacher)) == epoch - 1
    checkpoints = {f"checkpoints/epoch{done:04d}.safetensors" for done in range(1, epoch)}
    assert entry["artifacts"].keys() == {"history.csv"} | checkpoints
    tensors, info = lab.folder(teacher).load_state()
    assert info["cursor"] == ["MAIN", epoch - 1, step - 1]
    assert tensors.keys() >= {"parts.network.conv.weight", "momentum.0"}
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_weights_that_are_no_longer_finite_are_divergence_though_all_losses_were(lab, straying):
    recipe = {"epochs": 1, "batch": 64, "lr": 0.05, "decay_at": []}
    stray = {"straying": {"step": 0, "silently": True}}
    [teacher], _ = lab.plan(teachers={"stray": stray}, recipes={"short": recipe})
    lab.run([teacher])
    where = lab.record(teacher)["diverged"]
    assert where == {"epoch": 1, "step": 1, "terms": {"weights": "nan"}}


@pytest.mark.parametrize("save_every", [0, 60])
@pytest.mark.parametrize(("entry", "value"), [("std", 0.0), ("mean", 1e39)])
def test_images_that_are_not_finite_are_an_error_of_the_data_and_no_divergence(
    lab, caplog, save_every, entry, value
):
    values = [*lab.data.manifest[entry][:2], value]
    lab.data = Prepared(lab.data.folder, lab.data.manifest | {entry: values})
    [teacher], _ = lab.plan(recipes={"short": SHORT | {"batch": 32}})
    with pytest.raises(UserError, match=r"1 of 1 runs failed"):
        lab.run([teacher], save_every)
    assert lab.record(teacher) is None
    assert (
        f"images of the prepared data in {lab.data.folder} are not finite in epoch 1, step 1 (mean "
    ) in caplog.text
    assert (
        "expected finite means, and standard deviations above 0: delete the folder" in caplog.text
    )


@pytest.mark.parametrize("save_every", [0, 60])
def test_the_first_bad_step_is_named_with_its_own_values_whenever_it_is_found(
    lab, add_part, save_every
):
    add_part("regularizer", "brittle", BRITTLE)
    [plain, broken], _ = lab.plan(teachers={"standard": {}, "broken": {"brittle": {}}})
    lab.run([plain, broken], save_every)
    where = lab.record(broken)["diverged"]
    assert (where["epoch"], where["step"]) == (2, 1)
    assert where["terms"]["brittle"] == "inf"
    assert 0 < float(where["terms"]["ce"]) < 10
    [epoch] = lab.history(broken)
    assert float(epoch["loss_brittle"]) == 0.25
    assert epoch["loss_ce"] == lab.history(plain)[0]["loss_ce"]


def test_beside_a_teacher_that_diverges_the_others_are_the_same_as_alone(lab, straying):
    teachers, _ = lab.plan(teachers=STRAY, pairs=THREE_TEACHERS)
    alone = each_alone(lab, teachers)
    entries = lab.run(teachers)
    wanted = {"wrn_10_2": "diverged", "wrn_16_1": "done", "wrn_10_1": "done"}
    assert statuses(teachers, entries) == wanted
    assert entries == alone


def test_students_of_a_teacher_that_diverged_are_blocked_and_leave_nothing(lab, straying):
    teachers, students = lab.plan(teachers=STRAY, pairs=THREE_TEACHERS)
    lab.run(teachers)
    entries = lab.run(students)
    [blocked] = [
        run for run in students if run.teacher.spec.to_json()["network"]["name"] == "wrn_10_2"
    ]
    assert entries[blocked.id]["status"] == "blocked"
    assert entries[blocked.id]["blocked_by"] == blocked.teacher.id
    assert entries[blocked.id]["artifacts"] == {}
    others = [run for run in students if run is not blocked]
    assert [entries[run.id]["status"] for run in others] == ["done", "done"]
    assert {folder.id for folder in lab.stored("student")} == {run.id for run in others}
    assert len(list(lab.store.glob("runs/*"))) == len(teachers) + len(others)


def test_what_diverged_or_was_blocked_is_published_again_without_training(
    lab, straying, monkeypatch
):
    teachers, students = lab.plan(teachers=STRAY, pairs=THREE_TEACHERS)
    manifests = [lab.run(teachers), lab.run(students)]

    def no_training(*_):
        raise AssertionError("training was begun")

    monkeypatch.setattr(passes, "train_passes", no_training)
    assert [lab.run(teachers), lab.run(students)] == manifests
    assert all(len(lab.record(teacher)["attempts"]) == 1 for teacher in teachers)


def test_beside_a_student_that_diverges_the_others_are_the_same_as_alone(lab, straying):
    teachers, students = lab.plan(pairs=THREE_STUDENTS, distillers={"straying": {}})
    published = lab.run(teachers)
    alone = each_alone(lab, students)
    entries = lab.run(students)
    wanted = {"wrn_10_1": "done", "wrn_10_2": "diverged", "wrn_16_1": "done"}
    assert statuses(students, entries) == wanted
    assert entries == alone
    [where] = [entry["diverged"] for entry in entries.values() if "diverged" in entry]
    assert (where["epoch"], where["step"]) == (1, 2)
    assert where["terms"].keys() == {"ce", "kd", "straying"}
    assert lab.run(teachers) == published
    assert statuses(teachers, published) == {"wrn_10_2": "done"}


def test_students_of_a_preparation_that_diverged_are_blocked_and_the_others_are_not(
    lab, add_part, monkeypatch
):
    add_part("distiller", "overshooting", OVERSHOOTING)
    teachers, [kd, blocked] = lab.plan(distillers={"kd": {}, "overshooting": {}})
    lab.run(teachers)
    alone = each_alone(lab, [kd])
    entries = lab.run([kd, blocked])
    assert entries[kd.id] == alone[kd.id]
    [preparation] = lab.stored("preparation")
    where = preparation.record()["diverged"]
    assert (where["epoch"], where["step"], where["terms"]) == (1, 2, {"size": "inf"})
    assert entries[blocked.id]["status"] == "blocked"
    assert entries[blocked.id]["blocked_by"] == preparation.id

    def no_step(*_):
        raise AssertionError("a step was taken")

    monkeypatch.setattr(Learner, "step", no_step)
    assert lab.run([kd, blocked]) == entries


@pytest.mark.parametrize(
    ("trouble", "begun"),
    [
        ("step", [["MAIN", 0, 0], ["MAIN", 1, 1], ["MAIN", 1, 1]]),
        ("build", [["MAIN", 0, 0]]),
        ("preparation", [["MAIN", 0, 0]]),
    ],
)
def test_a_member_that_fails_is_named_and_the_others_finish(
    lab, add_part, monkeypatch, trouble, begun
):
    fragile = add_part("distiller", "fragile", FRAGILE)
    teachers, students = lab.plan(
        distillers={"kd": {}, "fragile": {}, "warm": {"method": "kd", "temperature": 8.0}}
    )
    lab.run(teachers)
    alone = each_alone(lab, students)
    kd, failing, warm = students
    monkeypatch.setattr(fragile, "trouble", trouble)
    with pytest.raises(UserError, match=f"1 of 3 runs failed: {failing.id};"):
        lab.run(students, save_every=0)
    finished = [weights(lab.folder(run)) for run in (kd, warm)]
    assert lab.record(failing) is None
    with pytest.raises(UserError, match=f"1 of 3 runs failed: {failing.id};"):
        lab.run(students, save_every=0)
    monkeypatch.setattr(fragile, "trouble", "")
    assert lab.run(students) == alone
    assert [weights(lab.folder(run)) for run in (kd, warm)] == finished
    attempts = [[a["from"] for a in lab.record(run)["attempts"]] for run in students]
    assert attempts == [[["MAIN", 0, 0]], begun, [["MAIN", 0, 0]]]
