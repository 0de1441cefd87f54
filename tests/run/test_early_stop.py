"""Early-stopped teachers: which images are held out, which epoch is kept, and who may use it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_study import STUDY

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.data.prepared import prepare, stored_data
from soteacher.data.stream import Stream
from soteacher.exchange.loaded import load
from soteacher.models import catalogue
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.training.evaluate import Evaluator

KNOWN = STUDY["data"]["few"] | {"true_labels": {"confusion": 0.4}}
METHODS = {
    "early": {"early_stop": True},
    "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}, "early_stop": True},
}
RECIPES = {"short": STUDY["recipes"]["short"] | {"epochs": 9, "decay_at": [8], "lr": 0.1}}


@pytest.fixture
def known(lab):
    """The lab with labels drawn from known distributions, and two early-stopped teachers there."""
    teachers, students = lab.plan(data={"few": KNOWN}, recipes=RECIPES, teachers=METHODS)
    prepare(teachers[0].spec.data, lab.store)
    [folder] = lab.store.glob("data/*")
    lab.data = stored_data(folder)
    return lab, teachers, students


@pytest.fixture
def watched(monkeypatch):
    """The rows of every batch of teachers, and the weights after every epoch, in their order."""
    rows, weights = [], []
    batch, top1 = Stream.batch, Evaluator.top1

    def noted_batch(stream, cursor):
        made = batch(stream, cursor)
        rows.extend(made.indices.tolist())
        return made

    def noted_top1(evaluator, network):
        state = {name: value.cpu().clone() for name, value in network.state_dict().items()}
        weights.append(state)
        return top1(evaluator, network)

    monkeypatch.setattr(Stream, "batch", noted_batch)
    monkeypatch.setattr(Evaluator, "top1", noted_top1)
    return rows, weights


def nll_by_hand(data, state, rows) -> float:
    """Mean -log p(drawn label) of rows of the training images, in NumPy from the logits on."""
    network = catalogue.build("wrn_10_2", 10)
    network.load_state_dict(state)
    images = np.asarray(data.array("train_images"))[rows].astype(np.float32) / 255
    images = (images - np.float32(data.manifest["mean"])) / np.float32(data.manifest["std"])
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2))).logits
    logits = logits.numpy().astype(float)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = np.asarray(data.train_labels(0))[rows]
    return float(-logs[np.arange(len(rows)), labels].mean())


@pytest.mark.parametrize("method", [*METHODS])
def test_the_weights_are_those_of_the_epoch_with_the_least_nll_of_unseen_images(
    known, watched, method
):
    lab, teachers, _ = known
    [teacher] = [run for run in teachers if run.method == method]
    rows, weights = watched
    lab.run([teacher])
    unseen = sorted({*range(64)} - {*rows})
    assert len(unseen) == 7  # a tenth of 64, rounded up
    labels = np.asarray(lab.data.train_labels(0))
    of_class = np.bincount(labels[unseen], minlength=10)
    assert np.abs(of_class - np.bincount(labels, minlength=10) / 10).max() < 1
    nlls = [nll_by_hand(lab.data, state, unseen) for state in weights]
    best = int(np.argmin(nlls))
    assert 0 < best < len(nlls) - 1  # the test would not see the choice of another epoch otherwise
    kept = load_file(lab.folder(teacher).artifact("weights.safetensors"))
    assert kept.keys() == weights[best].keys()
    for name, value in kept.items():
        assert torch.equal(value, weights[best][name]), name
    record, history = lab.record(teacher), lab.history(teacher)
    assert record["early_stop"]["epoch"] == best + 1
    assert record["early_stop"]["held_out_nll"] == pytest.approx(nlls[best], rel=1e-4)
    found = [float(row["held_out_nll"]) for row in history]
    assert found == pytest.approx(nlls, rel=1e-4)
    assert record["last_test_top1"] == float(history[best]["test_top1"])


def test_each_seed_holds_out_other_images_and_all_its_methods_the_same(known, watched):
    lab, _, _ = known
    study = STUDY | {"data": {"few": KNOWN}, "teachers": METHODS, "seeds": [0, 1]}
    study["tables"] = {"one": {"kind": "accuracy", "teachers": [*METHODS], "distillers": ["kd"]}}
    teachers = [run for run in expand(read(study)).runs.values() if run.teacher is None]
    rows, _ = watched
    seen = {}
    for teacher in teachers:
        rows.clear()
        lab.run([teacher])
        seen[teacher.method, teacher.spec.seed] = {*rows}
    assert seen["early", 0] == seen["soteacher", 0]
    assert seen["early", 0] != seen["early", 1]


@pytest.mark.parametrize("moment", [(4, 1), (8, 0)], ids=str)
def test_a_killed_teacher_resumes_to_the_same_bits_after_its_best_epoch(known, kill, moment):
    lab, [*_, teacher], _ = known
    whole = lab.copy()
    expected = whole.run([teacher])[teacher.id]["artifacts"]
    best = whole.record(teacher)["early_stop"]
    with kill(teacher.id, Cursor(Stage.MAIN, *moment)):
        lab.run([teacher], save_every=0)
    assert not lab.folder(teacher).finished()
    assert lab.run([teacher])[teacher.id]["artifacts"] == expected
    assert lab.record(teacher)["early_stop"] == best


def test_teachers_of_one_pass_have_the_bits_that_they_have_alone(known):
    lab, teachers, _ = known
    alone = lab.elsewhere([run] for run in teachers)
    together = lab.run(teachers)
    assert len({run.spec.pass_key for run in teachers}) == 1
    for run in teachers:
        assert together[run.id]["artifacts"] == alone[run.id]["artifacts"]


def test_its_students_learn_from_all_images_and_it_is_loaded_as_any_other(known, watched):
    lab, [teacher, _], [student, _] = known
    lab.run([teacher])
    rows, _ = watched
    rows.clear()
    lab.run([student])
    assert {*rows} == {*range(64)}
    network, record = load(lab.folder(teacher).path)
    assert not network.training and record["early_stop"]["epoch"] >= 1


def test_without_early_stopping_it_is_another_run(lab):
    [one], _ = lab.plan(teachers={"early": {"early_stop": True}})
    [other], _ = lab.plan(teachers={"early": {"early_stop": False}})
    [standard], _ = lab.plan()
    assert other.spec == standard.spec != one.spec
    assert one.spec.pass_key != standard.spec.pass_key


OTHER = {"kind": "accuracy", "teachers": ["early"], "distillers": ["kd"]}


@pytest.mark.parametrize(
    "block",
    [
        {"kind": "accuracy", "teachers": ["early"], "distillers": ["rco"]},
        {"kind": "checkpoints", "teachers": ["early"], "distillers": ["kd"], "every": 1},
    ],
    ids=["rco", "checkpoints"],
)
def test_who_needs_the_weights_of_several_epochs_refuses_it(lab, block):
    recipe = STUDY["recipes"]["short"] | {"keep_every": 1}
    figure = block["kind"] == "checkpoints"
    study = STUDY | {
        "recipes": {"short": recipe},
        "teachers": {"early": {"early_stop": True}},
        "distillers": {"kd": {}, "rco": {"anchors": 3}},
        "tables": {"other": OTHER} if figure else {"asked": block},
        "figures": {"asked": block} if figure else {},
    }
    with pytest.raises(UserError, match="have only its weights after training") as refused:
        expand(read(study))
    assert "asked" in str(refused.value) and "few/wrn_10_2/early/seed0" in str(refused.value)


def test_an_oracle_is_not_early_stopped(lab):
    study = STUDY | {"teachers": {"both": {"oracle": True, "early_stop": True}}}
    study["tables"] = {"one": {"kind": "accuracy", "teachers": ["both"], "distillers": ["kd"]}}
    with pytest.raises(UserError, match="an oracle is not trained, so it holds out no images"):
        read(study)
