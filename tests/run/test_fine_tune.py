"""Fine-tuned teachers: Standard's training first, to the bit, and then epochs with loss terms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_study import STUDY

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import RunsFailed
from soteacher.data.stream import Stream
from soteacher.models import catalogue
from soteacher.training.evaluate import Evaluator

EPOCHS, LR = 2, 0.02
"""Of the fine-tuning; the recipe has three epochs of two steps."""
FINE_TUNE = {"fine_tune": {"epochs": EPOCHS, "lr": LR}}
SEVERAL = {"lipschitz": {"weight": 1e-4}, "consistency": {}, "crl": {}, "label_smoothing": {}}
METHODS = {
    "standard": {},
    "mcmi": {"mcmi": {}} | FINE_TUNE,
    "mse": {"mse": {}, "l1": {}} | FINE_TUNE,
    "several": SEVERAL | {"mcmi": {}} | FINE_TUNE,
}
STEP = {"short": STUDY["recipes"]["short"] | {"batch": 64}}
"""One step in an epoch: the losses of the history are those of this step."""


@pytest.fixture
def watched(monkeypatch):
    """The batches of teachers, and the weights after every epoch, in their order."""
    batches, weights = [], []
    batch, top1 = Stream.batch, Evaluator.top1

    def noted_batch(stream, cursor):
        batches.append(batch(stream, cursor))
        return batches[-1]

    def noted_top1(evaluator, network):
        state = {name: value.cpu().clone() for name, value in network.state_dict().items()}
        weights.append(state)
        return top1(evaluator, network)

    monkeypatch.setattr(Stream, "batch", noted_batch)
    monkeypatch.setattr(Evaluator, "top1", noted_top1)
    return batches, weights


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def weights_of(lab, run):
    return load_file(lab.folder(run).artifact("weights.safetensors"))


@pytest.mark.parametrize("method", [name for name in METHODS if name != "standard"])
def test_until_the_recipe_ends_it_is_standard_s_training_to_the_bit(lab, watched, method):
    teachers, _ = lab.plan(teachers={n: METHODS[n] for n in ("standard", method)})
    standard, tuned = teachers
    lab.elsewhere([[standard]])
    expected = list(watched[1])
    batches, weights = watched
    weights.clear()
    batches.clear()
    lab.run([tuned])
    assert len(expected) == 3 and len(weights) == 3 + EPOCHS
    for epoch, state in enumerate(expected):
        assert equal(weights[epoch], state)
    assert not equal(weights[3], weights[2])  # and it does continue
    assert equal(weights_of(lab, tuned), weights[-1])
    history = lab.history(tuned)
    assert [float(row["lr"]) for row in history] == pytest.approx([0.05, 0.05, 0.005, LR, LR])
    assert [int(row["epoch"]) for row in history] == [1, 2, 3, 4, 5]
    orders = {tuple(batch.indices.tolist()) for batch in batches}
    assert len(batches) == len(orders) == 2 * (3 + EPOCHS)  # no epoch repeats another's order


def test_only_the_last_epochs_have_the_terms(lab):
    teachers, _ = lab.plan(teachers=METHODS)
    lab.run(teachers)
    expected = {
        "mcmi": {"loss_ce", "loss_mcmi"},
        "mse": {"loss_mse", "loss_l1"},  # instead of cross-entropy, which comes before
        "several": {"loss_ce", "loss_mcmi", "loss_lipschitz", "loss_consistency", "loss_crl"},
    }
    for run in teachers[1:]:
        losses = [
            {name for name, value in row.items() if name.startswith("loss_") and value}
            for row in lab.history(run)
        ]
        # the first epoch of consistency and CRL has no history of predictions
        first = expected[run.method] - {"loss_consistency", "loss_crl"}
        assert losses == [{"loss_ce"}] * 3 + [first, expected[run.method]]


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def logits_of(state, images, train: bool):
    """Logits in float64 of a network with these weights."""
    network = catalogue.build("wrn_10_2", 10).double()
    network.load_state_dict(state)
    with torch.no_grad():
        return network.train(train)(images.double().cpu()).logits.numpy()


def test_mcmi_has_class_means_of_the_trained_network_from_its_first_epoch_on(lab, watched):
    weight = 0.3
    changed = METHODS["mcmi"] | {"mcmi": {"weight": weight}}
    [tuned], _ = lab.plan(teachers={"mcmi": changed}, recipes=STEP)
    lab.run([tuned])
    batches, weights = watched
    data = lab.data
    images = np.asarray(data.array("train_images")).astype(np.float64) / 255
    images = (images - np.array(data.manifest["mean"])) / np.array(data.manifest["std"])
    labels = np.asarray(data.train_labels(0))
    found = [float(row["loss_mcmi"]) for row in lab.history(tuned)[3:]]
    for epoch, value in enumerate(found):
        before = weights[2 + epoch]
        plain = torch.from_numpy(images.transpose(0, 3, 1, 2))
        p = softmax(logits_of(before, plain, train=False))
        means = np.stack([p[labels == y].mean(axis=0) for y in range(10)])
        batch = batches[3 + epoch]
        p = softmax(logits_of(before, batch.images, train=True))
        q = means[batch.labels.cpu().numpy()]
        divergence = (p * np.log(p / q)).sum(axis=1).mean()
        assert divergence > 1e-3  # the test would see neither its sign nor its weight otherwise
        assert value == pytest.approx(-weight * divergence, rel=1e-3)  # of float32


def test_fine_tuning_at_the_recipe_s_last_learning_rate_is_a_longer_recipe(lab):
    """Momentum, batches, weight decay and learning rate continue, without and with terms."""
    recipe = STUDY["recipes"]["short"] | {"decay_at": []}
    longer = recipe | {"epochs": 5}
    tuned = {"tuned": {"fine_tune": {"epochs": 2, "lr": recipe["lr"]}}}
    [one], _ = lab.plan(teachers=tuned, recipes={"short": recipe})
    [other], _ = lab.plan(recipes={"short": longer})
    assert one.spec.sha256 != other.spec.sha256
    lab.run([one])
    lab.run([other])
    assert equal(weights_of(lab, one), weights_of(lab, other))
    assert lab.history(one) == lab.history(other)


NOTED = '''
"""Notes which epochs a loss term is told."""

from soteacher.core.registry import register
from soteacher.regularizers.base import Regularizer

SEEN = []


@register
class Noted(Regularizer):
    """Adds nothing."""

    takes_train_logits = True

    def start(self, context):
        SEEN.append(("start", context.epochs, context.fine_tunes))

    def losses(self, batch, output, teacher, network):
        SEEN.append(("losses", batch.cursor.epoch, batch.cursor.step))
        return {"noted": 0 * output.logits.sum()}

    def end_epoch(self, epoch):
        SEEN.append(("end", epoch))

    def take_train_logits(self, logits, labels):
        SEEN.append(("take", len(logits)))
'''


@pytest.mark.parametrize("tuned", [True, False])
def test_the_epochs_of_a_term_count_from_the_first_one_with_it(lab, add_part, tuned):
    seen = add_part("regularizer", "noted", NOTED).SEEN
    recipe = STUDY["recipes"]["short"] | ({} if tuned else {"epochs": EPOCHS, "decay_at": []})
    method = {"noted": {}} | (FINE_TUNE if tuned else {})
    [run], _ = lab.plan(teachers={"noted": method}, recipes={"short": recipe})
    lab.run([run])
    assert seen == [
        ("start", EPOCHS, tuned),
        *([("take", 64)] if tuned else []),
        *(("losses", 0, 0), ("losses", 0, 1), ("end", 0), ("take", 64)),
        *(("losses", 1, 0), ("losses", 1, 1), ("end", 1)),
    ]


@pytest.mark.parametrize("moment", [(2, 1), (3, 0), (3, 1), (4, 0)], ids=str)
def test_a_killed_teacher_resumes_to_the_same_bits(lab, kill, moment):
    [teacher], _ = lab.plan(teachers={"several": METHODS["several"]})
    expected = lab.copy().run([teacher])[teacher.id]["artifacts"]
    with kill(teacher.id, Cursor(Stage.MAIN, *moment)):
        lab.run([teacher], save_every=0)
    assert not lab.folder(teacher).finished()
    assert lab.run([teacher])[teacher.id]["artifacts"] == expected


def test_teachers_of_one_pass_have_the_bits_that_they_have_alone(lab):
    teachers, _ = lab.plan(teachers=METHODS)
    alone = lab.elsewhere([run] for run in teachers)
    together = lab.run(teachers)
    assert len({run.spec.pass_key for run in teachers}) == 1
    for run in teachers:
        assert together[run.id]["artifacts"] == alone[run.id]["artifacts"]


def test_its_students_learn_from_the_last_weights_and_anchors_are_of_all_epochs(lab):
    recipe = STUDY["recipes"]["short"] | {"keep_every": 1}
    [teacher], students = lab.plan(
        recipes={"short": recipe, "long": recipe | {"epochs": 5}},
        pairs={
            "wrn_10_2/wrn_10_1": STUDY["pairs"]["wrn_10_2/wrn_10_1"] | {"student_recipe": "long"}
        },
        teachers={"mcmi": METHODS["mcmi"]},
        distillers={"kd": {}, "rco": {"anchors": 5}},
    )
    entries = lab.run([teacher])
    kept = {name for name in entries[teacher.id]["artifacts"] if "epoch" in name}
    assert len(kept) == 4  # the last of five are the weights
    kd, rco = students
    assert kd.spec.last_teacher_epoch == 5
    assert rco.spec.teacher_epochs[Stage.MAIN] == (1, 2, 3, 4, 5)
    lab.run(students)
    assert all(lab.folder(run).finished() for run in students)


def test_a_last_batch_of_one_image_is_rehearsed_with_the_terms(lab, add_part, caplog):
    seen = add_part(
        "regularizer", "noted", NOTED.replace("output.logits.", "output.logits[1].")
    ).SEEN
    recipes = {"short": STUDY["recipes"]["short"] | {"batch": 63}}
    [run], _ = lab.plan(teachers={"noted": {"noted": {}} | FINE_TUNE}, recipes=recipes)
    with pytest.raises(RunsFailed):
        lab.run([run])
    assert "leave a last batch of one image, on which the training" in caplog.text
    assert seen[-1] == ("losses", 0, 1)
    assert not lab.folder(run).progress_file.exists()  # nothing was trained before it
