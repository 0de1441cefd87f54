"""Cross-fitted teachers: no network sees its fold, and students learn from the network that did not
see an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_study import STUDY

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.data.folds import folds_of
from soteacher.data.prepared import Prepared, prepare, stored_data
from soteacher.distillers.kd import KD
from soteacher.distillers.logit_standardization import LogitStandardization
from soteacher.exchange.export import export
from soteacher.exchange.loaded import load
from soteacher.models import catalogue
from soteacher.regularizers.mcmi import MCMI
from soteacher.results.collect import measure
from soteacher.study.expand import expand
from soteacher.study.load import read
from soteacher.terms import CrossEntropy
from soteacher.training import setup
from soteacher.training.learner import Learner

KNOWN = STUDY["data"]["few"] | {"true_labels": {"confusion": 0.4}}
METHODS = {
    "crossed": {"cross_fit": 5},
    "soteacher": {"lipschitz": {"weight": 1e-4}, "consistency": {}, "cross_fit": 3},
    "mixed": {"mixup": {}, "label_smoothing": {}, "cross_fit": 2},
}


@pytest.fixture
def known(lab):
    """The lab with labels drawn from known distributions, and cross-fitted teachers there."""
    teachers, students = lab.plan(data={"few": KNOWN}, teachers=METHODS)
    prepare(teachers[0].spec.data, lab.store)
    [folder] = lab.store.glob("data/*")
    lab.data = stored_data(folder)
    return lab, {run.method: run for run in teachers}, {run.method: run for run in students}


def networks_of(lab, teacher):
    """The networks of a trained teacher, each in eval mode, from the file of its weights."""
    weights = load_file(lab.folder(teacher).artifact("weights.safetensors"))
    found = []
    for fold in range(teacher.spec.n_networks):
        start = f"networks.{fold}."
        network = catalogue.build("wrn_10_2", 10)
        own = {k.removeprefix(start): v for k, v in weights.items() if k.startswith(start)}
        network.load_state_dict(own)
        found.append(network.eval().requires_grad_(False))
    assert len(weights) == len(found) * len(found[0].state_dict())
    return found


def images_of(data, split):
    images = np.asarray(data.array(f"{split}_images")).astype(np.float32) / 255
    images = (images - np.float32(data.manifest["mean"])) / np.float32(data.manifest["std"])
    return torch.from_numpy(images.transpose(0, 3, 1, 2))


def folds(lab, n_folds):
    return folds_of(np.asarray(lab.data.train_labels(0)), n_folds, 0)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_logits_are_of_the_network_that_did_not_see_the_image_and_the_mean_on_test_images(known):
    lab, teachers, _ = known
    lab.run([teachers["crossed"]])
    networks = networks_of(lab, teachers["crossed"])
    of_fold = folds(lab, 5)
    train = images_of(lab.data, "train")
    each = np.stack([network(train).logits.numpy() for network in networks])
    folder = lab.folder(teachers["crossed"])
    found = np.load(folder.artifact("train_logits.npy"))
    assert found == pytest.approx(each[of_fold, np.arange(64)], abs=1e-4)
    for other in range(1, 5):  # of no other network
        wrong = each[(of_fold + other) % 5, np.arange(64)]
        assert np.abs(found - wrong).max(axis=1).min() > 1e-3
    test = images_of(lab.data, "test")
    each = np.stack([softmax(network(test).logits.numpy()) for network in networks])
    found = softmax(np.load(folder.artifact("test_logits.npy")))
    assert found == pytest.approx(each.mean(axis=0), abs=1e-5)


@pytest.mark.parametrize("method", ["crossed", "soteacher"])
def test_another_label_changes_every_network_but_that_of_its_image_s_fold(
    known, monkeypatch, method
):
    lab, teachers, _ = known
    teacher, n_folds = teachers[method], METHODS[method]["cross_fit"]
    of_fold = folds(lab, n_folds)
    monkeypatch.setattr(setup, "folds_of", lambda labels, n, seed: of_fold)
    before, after = lab.copy(), lab.copy()
    before.run([teacher])
    labels = np.array(lab.data.train_labels(0))
    labels[7] = (labels[7] + 1) % 10
    monkeypatch.setattr(Prepared, "train_labels", lambda data, seed: labels)
    after.run([teacher])
    pairs = zip(networks_of(before, teacher), networks_of(after, teacher), strict=True)
    for fold, (one, other) in enumerate(pairs):
        states = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        equal = all(torch.equal(a, b) for a, b in states)
        assert equal == (fold == of_fold[7])


def test_each_network_sees_all_images_outside_its_fold_once_an_epoch(known, monkeypatch):
    lab, teachers, _ = known
    seen = {}
    losses = CrossEntropy.losses

    def noted(term, batch, output, teacher, network):
        rows = seen.setdefault(id(network), []) if batch.cursor.epoch == 1 else []
        rows.extend(batch.indices.tolist())
        return losses(term, batch, output, teacher, network)

    monkeypatch.setattr(CrossEntropy, "losses", noted)
    lab.run([teachers["crossed"]])
    of_fold = folds(lab, 5)
    expected = {tuple(np.flatnonzero(of_fold != fold)) for fold in range(5)}
    assert {tuple(sorted(rows)) for rows in seen.values()} == expected
    assert len(seen) == 5
    starts = [tuple(rows[:8]) for rows in seen.values()]
    assert len({*starts}) == 5  # in different orders


def test_a_student_s_targets_are_of_the_network_that_did_not_see_the_image(known, monkeypatch):
    lab, teachers, students = known
    lab.run([teachers["crossed"]])
    given = []
    losses = KD.losses

    def noted(term, batch, output, teacher, network):
        given.append((batch, teacher.logits.clone()))
        return losses(term, batch, output, teacher, network)

    monkeypatch.setattr(KD, "losses", noted)
    lab.run([students["crossed"]])
    networks, of_fold = networks_of(lab, teachers["crossed"]), folds(lab, 5)
    assert len(given) == 3 * 2
    assert sorted(i for batch, _ in given[:2] for i in batch.indices.tolist()) == [*range(64)]
    for batch, logits in given:
        each = np.stack([network(batch.images).logits.numpy() for network in networks])
        chosen = each[of_fold[batch.indices.numpy()], np.arange(len(logits))]
        assert logits.numpy() == pytest.approx(chosen, abs=1e-4)
        assert np.abs(logits.numpy() - each[0]).max() > 1e-2


@pytest.mark.parametrize(
    ("method", "moment"),
    [("crossed", (0, 1)), ("crossed", (2, 0)), ("soteacher", (1, 0)), ("mixed", (1, 0))],
    ids=str,
)
def test_a_killed_teacher_resumes_to_the_same_bits(known, kill, method, moment):
    lab, teachers, _ = known
    teacher = teachers[method]
    expected = lab.copy().run([teacher])[teacher.id]["artifacts"]
    with kill(teacher.id, Cursor(Stage.MAIN, *moment)):
        lab.run([teacher], save_every=0)
    assert not lab.folder(teacher).finished()
    assert lab.run([teacher])[teacher.id]["artifacts"] == expected


def test_a_killed_student_resumes_to_the_same_bits(known, kill):
    lab, teachers, students = known
    lab.run([teachers["crossed"]])
    student = students["crossed"]
    expected = lab.copy().run([student])[student.id]["artifacts"]
    with kill(student.id, Cursor(Stage.MAIN, 1, 0)):
        lab.run([student], save_every=0)
    assert lab.run([student])[student.id]["artifacts"] == expected


def test_its_history_and_measures_are_those_of_all_networks(known):
    lab, teachers, students = known
    teacher = teachers["crossed"]
    lab.run([teacher])
    lab.run([students["crossed"]])
    rows = {row["run"]: row for row in measure(lab.entries, lab.data, lab.store).runs}
    history = lab.history(teacher)
    logits = np.load(lab.folder(teacher).artifact("test_logits.npy"))
    right = (logits.argmax(axis=1) == np.asarray(lab.data.test_classes)).mean()
    assert float(history[-1]["test_top1"]) == pytest.approx(right)
    assert rows[teacher.id]["top1"] == pytest.approx(right)
    truth = lab.data.array("train_truth")
    outside = softmax(np.load(lab.folder(teacher).artifact("train_logits.npy")).astype(float))
    distance = np.sqrt(((outside - truth) ** 2).sum(axis=1)).mean()
    assert rows[teacher.id]["train_distance"] == pytest.approx(distance, rel=1e-4)
    assert 0 <= float(history[0]["train_top1"]) <= 1
    assert float(history[0]["loss_ce"]) == pytest.approx(np.log(10), abs=1.5)
    assert rows[students["crossed"].id]["agreement"] > 0


@pytest.mark.parametrize("command", [load, lambda path: export(path, path / "exported")])
def test_it_is_no_single_network_to_load_or_export(known, command):
    lab, teachers, _ = known
    lab.run([teachers["mixed"]])
    with pytest.raises(UserError, match="is cross-fitted: it has one network for each fold"):
        command(lab.folder(teachers["mixed"]).path)


def test_an_infinite_loss_of_one_network_ends_the_run_as_diverged(known, monkeypatch):
    lab, teachers, _ = known
    losses, met = CrossEntropy.losses, []

    def infinite(term, batch: Batch, output, teacher, network):
        found = losses(term, batch, output, teacher, network)
        if batch.cursor == Cursor(Stage.MAIN, 1, 0):
            met.append(network)
            if len(met) == 2:
                return {name: loss * float("inf") for name, loss in found.items()}
        return found

    monkeypatch.setattr(CrossEntropy, "losses", infinite)
    entry = lab.run([teachers["crossed"]])[teachers["crossed"].id]
    assert entry["status"] == "diverged"
    assert (entry["diverged"]["epoch"], entry["diverged"]["step"]) == (2, 1)


def test_logit_standardization_learns_from_the_logits_of_the_network_that_did_not_see_the_image(
    lab, monkeypatch
):
    """It needs no features; its teacher's logits are those of one network, not of a mean."""
    name = "logit_standardization"
    [teacher], [student] = lab.plan(teachers={"crossed": {"cross_fit": 3}}, distillers={name: {}})
    lab.run([teacher])
    networks, fold_of, seen = networks_of(lab, teacher), folds(lab, 3), 0
    losses = LogitStandardization.method_losses

    def watched(term, batch, output, given, network):
        nonlocal seen
        for row, image in enumerate(batch.indices.tolist()):
            seer = networks[fold_of[image]]
            expected = seer(batch.images[row : row + 1].float()).logits[0]
            torch.testing.assert_close(given.logits[row].cpu(), expected, rtol=1e-4, atol=1e-4)
            seen += 1
        return losses(term, batch, output, given, network)

    monkeypatch.setattr(LogitStandardization, "method_losses", watched)
    assert lab.run([student])[student.id]["status"] == "done"
    assert seen == 64 * student.spec.recipe.epochs


def test_the_class_means_of_mcmi_are_of_each_network_s_own_images(lab, monkeypatch):
    [teacher], _ = lab.plan(teachers={"crossed": {"mcmi": {}, "cross_fit": 3}})
    fold_of, labels = folds(lab, 3), np.asarray(lab.data.train_labels(0))
    images, taken, expected = images_of(lab.data, "train"), [], []
    ended, take = Learner.end_epoch_of_terms, MCMI.take_train_logits

    def watched_end(learner, epoch):
        with torch.no_grad():
            logits = learner.network.eval()(images.to(learner.stream.device)).logits
        expected.append((epoch, logits.cpu().numpy()))
        return ended(learner, epoch)

    def watched(term, logits, own):
        taken.append((logits.cpu().numpy(), own.tolist()))
        return take(term, logits, own)

    monkeypatch.setattr(Learner, "end_epoch_of_terms", watched_end)
    monkeypatch.setattr(MCMI, "take_train_logits", watched)
    assert lab.run([teacher])[teacher.id]["status"] == "done"
    last = teacher.spec.recipe.epochs - 1
    due = [logits for epoch, logits in expected if epoch != last]
    assert len(taken) == len(due) == 3 * last and last > 0
    for number, ((logits, own), every) in enumerate(zip(taken, due, strict=True)):
        rows = np.flatnonzero(fold_of != number % 3)
        assert own == labels[rows].tolist()
        np.testing.assert_allclose(logits, every[rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["fitnet", "rco", "crd", "rkd", "sskd"])
def test_what_needs_more_than_logits_refuses_it_by_name(lab, name):
    study = STUDY | {"teachers": {"crossed": {"cross_fit": 5}}, "distillers": {name: {}}}
    study["tables"] = {"one": {"kind": "accuracy", "teachers": ["crossed"], "distillers": [name]}}
    line = f"one: {name} needs more of its teacher than each image's logits"
    with pytest.raises(UserError, match=line) as refused:
        expand(read(study))
    assert "few/wrn_10_2/crossed/seed0 is cross-fitted" in str(refused.value)


@pytest.mark.parametrize(
    ("method", "line"),
    [
        ({"cross_fit": 1}, "greater than or equal to 2|at least 2|expected"),
        ({"cross_fit": 5, "early_stop": True}, "both `early_stop` and `cross_fit` hold out"),
        ({"cross_fit": 5, "oracle": True}, "leave out `cross_fit`, or `oracle`"),
    ],
    ids=["1", "both", "oracle"],
)
def test_what_makes_no_sense_is_refused_in_one_line(lab, method, line):
    study = STUDY | {"teachers": {"crossed": method}}
    study["tables"] = {"one": {"kind": "accuracy", "teachers": ["crossed"], "distillers": ["kd"]}}
    with pytest.raises(UserError, match=line) as refused:
        expand(read(study))
    assert "\n" not in str(refused.value)


def test_more_folds_than_images_are_refused(lab):
    with pytest.raises(UserError, match="65 folds of 64 training images would leave some of them"):
        lab.plan(teachers={"crossed": {"cross_fit": 65}})
