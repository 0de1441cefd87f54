"""Distillers as modules: the study's own losses to the bit, in a loop without a study."""

from __future__ import annotations

import copy
import importlib
import re
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
import torch
from distilling import SAME_SIZE, STUDENT, outputs, site_of
from torch import nn

from soteacher import losses
from soteacher.core import registry
from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.random import seeded
from soteacher.distillers.dist import correlation_losses
from soteacher.distillers.dkd import decoupled_losses
from soteacher.methods import Distiller, Field
from soteacher.models.output import Output

DOCUMENT = (Path(__file__).parents[2] / "docs/losses.md").read_text(encoding="utf-8")
NAMES = registry.shipped("distiller")
LABELS = torch.tensor((0, 1, 2, 0, 1, 2))
SETTINGS = {"crd": {"negatives": 3, "dimensions": 4}}
N = 4
STEPS = ((0, 0), (0, 1), (1, 0))


class Student(nn.Module):
    """A student with two layers, one of which computes its features."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(2, 3), nn.Linear(3, 4)

    def trunk(self):
        return self.body


EPOCHS = 2
"""What a method of one's own may ask for."""


def class_of(name):
    return registry.get("distiller", name)


def made(name, labels=LABELS, **settings):
    """A loss whose layers are those of a study that is seeded with 3, and its first stage done."""
    kind = getattr(losses, class_of(name).__name__)
    with seeded(3):
        given = SETTINGS.get(name, {}) | settings
        loss = kind(STUDENT, SAME_SIZE, labels=labels, epochs=EPOCHS, seed=7, **given)
    if loss.prepared:
        loss.first_stage().finish()
        like = studied(name)[2]
        loss.prepared.load_state_dict(nn.ModuleDict(like).state_dict())
    return loss


def studied(name):
    """The term as a study's job starts it, its layers, and those of the first stage."""
    context = replace(site_of(SAME_SIZE), labels=LABELS, epochs=EPOCHS)
    term = class_of(name)(**SETTINGS.get(name, {})).for_teacher("standard")
    with seeded(3):
        term.start(context)
        modules = term.build(context)
    with seeded(4):
        stage = term.preparation(replace(context, student_features=None), None, {})
    prepared = {}
    if stage is not None:
        prepared = stage.modules
        for module in prepared.values():
            module.eval().requires_grad_(False)
        term.receive(prepared)
    return term, modules, prepared


def rows_of(name, n=N, dtype=torch.float32):
    """The student's and the teacher's outputs, with the student's features as leaves."""
    student, teacher = outputs(SAME_SIZE, n=n * class_of(name).turns)

    def typed(output, gradient):
        features = {
            key: value.detach().to(dtype).requires_grad_(gradient)
            for key, value in output.features.items()
        }
        return Output(output.logits.detach().to(dtype).requires_grad_(gradient), features)

    return typed(student, True), typed(teacher, False)


def gradients(output):
    return {
        name: value.grad for name, value in {"logits": output.logits, **output.features}.items()
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        same = found[name] is None if value is None else torch.equal(found[name], value)
        assert same, name


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_its_gradients_and_its_memory_are_the_study_s_to_the_bit(name):
    term, modules, _ = studied(name)
    loss = made(name)
    for epoch, step in STEPS:
        indices = (torch.arange(N) + step) % len(LABELS)
        labels = LABELS[indices]
        ours, teacher = rows_of(name)
        theirs, _ = rows_of(name)
        found = loss(ours, teacher, labels, indices, epoch)
        batch = Batch(torch.zeros(N, 3, 8, 8), labels, indices, Cursor(Stage.MAIN, epoch, step))
        expected = reduce(add, term.losses(batch, theirs, teacher, nn.Identity()).values())
        assert torch.equal(found, expected)
        found.backward()
        expected.backward()
        assert_equal(gradients(ours), gradients(theirs))
    layers = {name: value.grad for name, value in nn.ModuleDict(modules).named_parameters()}
    assert_equal({name: value.grad for name, value in loss.layers.named_parameters()}, layers)
    kept = term.buffers()
    assert_equal({name: loss.memory.get_buffer(name) for name in kept}, kept)
    assert all(value.grad is None for value in loss.prepared.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_named_as_in_a_study_and_add_up(name):
    loss, twin = made(name), made(name)
    student, teacher = rows_of(name)
    parts = loss.named(student, teacher, LABELS[:N], torch.arange(N))
    assert {"ce", "kd"} <= parts.keys()
    total = twin(student, teacher, LABELS[:N], torch.arange(N))
    assert torch.equal(reduce(add, parts.values()), total)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_loss_continues_as_the_one_that_was_not_saved(name, tmp_path):
    first, second = made(name), made(name, table5="standard")
    if first.layers:
        for value in second.layers.parameters():
            nn.init.zeros_(value.data)
    batch = (*rows_of(name), LABELS[:N], torch.arange(N), 1)
    first(*batch)
    torch.save(first.state_dict(), tmp_path / "loss.pt")
    second.load_state_dict(torch.load(tmp_path / "loss.pt", weights_only=True))
    copied = copy.deepcopy(first)
    expected = first(*batch)
    assert torch.equal(second(*batch), expected)
    assert torch.equal(copied(*batch), expected)
    assert_equal(dict(second.state_dict()), dict(first.state_dict()))


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("name", NAMES)
def test_any_size_of_a_batch_works(name, n):
    student, teacher = rows_of(name, n)
    found = made(name)(student, teacher, LABELS[:n], torch.arange(n))
    assert found.shape == () and found.isfinite()
    found.backward()
    assert student.logits.grad is not None and student.logits.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_is_needed(name):
    student, teacher = rows_of(name)
    batch = (student, teacher, LABELS[:N], torch.arange(N))
    with torch.no_grad():
        found = made(name)(*batch)
    assert not found.requires_grad
    assert torch.equal(found, made(name)(*batch))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_converted_and_autocast_changes_nothing(name):
    student, teacher = rows_of(name, dtype=torch.bfloat16)
    floats = [
        Output(o.logits.float(), {key: value.float() for key, value in o.features.items()})
        for o in (student, teacher)
    ]
    expected = made(name)(*floats, LABELS[:N], torch.arange(N))
    with torch.autocast("cpu", torch.bfloat16):
        found = made(name)(student, teacher, LABELS[:N], torch.arange(N))
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_loss_takes_float64(name):
    student, teacher = rows_of(name, dtype=torch.float64)
    found = made(name).double()(student, teacher, LABELS[:N], torch.arange(N))
    single = made(name)(*rows_of(name), LABELS[:N], torch.arange(N))
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(single.item(), rel=1e-3)


@pytest.mark.parametrize("assign", [False, True])
def test_a_moved_or_assigned_memory_is_the_one_that_is_used(assign):
    loss = made("crd")
    batch = (*rows_of("crd"), LABELS[:N], torch.arange(N))
    loss(*batch)
    other = made("crd")
    other.load_state_dict(copy.deepcopy(loss.state_dict()), assign=assign)
    moved = other.double().float()
    assert torch.equal(moved(*batch), loss(*batch))
    assert_equal(dict(moved.state_dict()), dict(loss.state_dict()))


def test_a_memory_does_not_change_in_eval_mode():
    loss = made("crd").eval()
    before = copy.deepcopy(loss.state_dict())
    batch = (*rows_of("crd"), LABELS[:N], torch.arange(N))
    first = loss(*batch)
    assert_equal(dict(loss.state_dict()), dict(before))
    assert torch.equal(loss(*batch), first)
    loss.train()(*batch)
    assert not torch.equal(
        loss.state_dict()["memory.student_memory"], before["memory.student_memory"]
    )


def test_steps_are_counted_in_each_epoch_so_that_draws_differ():
    seen = []

    class Watching(class_of("kd")):
        def losses(self, batch, output, teacher, network):
            seen.append((batch.cursor.epoch, batch.cursor.step))
            return super().losses(batch, output, teacher, network)

        def end_epoch(self, epoch):
            seen.append(epoch)

    loss = losses.loss_of(Watching)()
    student, teacher = rows_of("kd")
    for epoch in (0, 0, 1):
        loss(student, teacher, LABELS[:N], epoch=epoch)
    assert seen == [(0, 0), (0, 1), 0, (1, 0)]


@pytest.mark.parametrize("name", ["ft", "sskd", "ab"])
def test_a_first_stage_is_the_study_s_to_the_bit(name):
    context = replace(site_of(SAME_SIZE), student_features=STUDENT)
    student, teacher = rows_of(name)
    network = Student().eval() if name == "ab" else None
    term = class_of(name)().for_teacher("standard")
    kind = getattr(losses, class_of(name).__name__)
    with seeded(4):
        preparation = term.preparation(context, network, {})
    loss = kind(STUDENT, SAME_SIZE)
    with seeded(4):
        stage = loss.first_stage(network)
    stage.trained.load_state_dict(nn.ModuleDict(preparation.modules).state_dict())
    assert stage.epochs == preparation.epochs
    rates = [stage.lr(epoch) for epoch in (0, stage.epochs - 1)]
    assert (
        rates == {"ft": [0.01, 0.01], "sskd": [0.05, pytest.approx(5e-4)], "ab": [None] * 2}[name]
    )
    batch = Batch(torch.zeros(N), LABELS[:N], torch.arange(N), Cursor(Stage.PREPARE, 0, 0))
    expected = reduce(add, preparation.loss(batch, student, teacher).values())
    found = stage(student if name == "ab" else None, teacher, LABELS[:N])
    assert torch.equal(found, expected)
    found.backward()
    assert any(value.grad is not None for value in stage.parameters())
    stage.finish()
    assert name == "ab" or not any(value.requires_grad for value in loss.prepared.parameters())
    assert loss(student, teacher, LABELS[:N]).isfinite()


def test_what_a_first_stage_trains_is_what_the_loss_uses():
    loss = losses.FT(STUDENT, SAME_SIZE)
    student, teacher = rows_of("ft")
    stage = loss.first_stage()
    optimizer = torch.optim.SGD(stage.parameters(), stage.lr(0))
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        value = stage(None, teacher, LABELS[:N])
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]
    stage.finish()
    trained = copy.deepcopy(stage.trained.state_dict())
    assert_equal(dict(loss.prepared.state_dict()), dict(trained))
    loss.train()
    assert not any(module.training for module in loss.prepared.modules())
    before = loss(student, teacher, LABELS[:N])
    again = loss.first_stage()  # it continues from what was trained
    assert_equal(dict(again.trained.state_dict()), dict(trained))
    for value in again.parameters():
        nn.init.zeros_(value.data)
    again.finish()
    assert not torch.equal(loss(student, teacher, LABELS[:N]), before)


def test_the_main_stage_waits_for_the_first():
    loss = losses.SSKD(STUDENT, SAME_SIZE)
    with pytest.raises(UserError, match=r"SSKD needs its first stage: train loss.first_stage"):
        loss(*rows_of("sskd"), LABELS[:N])
    loss.load_state_dict(made("sskd").state_dict())
    assert loss(*rows_of("sskd"), LABELS[:N]).isfinite()


def test_a_first_stage_of_the_student_needs_its_trunk():
    loss = made("ab")
    for student in (None, nn.Linear(2, 2)):
        with pytest.raises(
            UserError, match=r"pass first_stage\(student\), a network with a method"
        ):
            loss.first_stage(student)
    with pytest.raises(UserError, match="trains the student: pass the student's output"):
        loss.first_stage(Student())(None, rows_of("ab")[1], LABELS[:N])
    assert made("kd").first_stage() is None


def test_the_columns_of_table_5_give_the_weights():
    assert losses.FitNet(STUDENT, SAME_SIZE).distiller.weight == 100
    assert losses.FitNet(STUDENT, SAME_SIZE, table5="soteacher").distiller.weight == 50
    assert losses.FitNet(STUDENT, SAME_SIZE, weight=3).distiller.weight == 3


def test_outputs_give_the_same_layers_as_shapes():
    with seeded(3):
        loss = losses.VID(*rows_of("vid"))
    assert_equal(dict(loss.state_dict()), dict(made("vid").state_dict()))


class Curriculum(Distiller):
    """A method of one's own: the temperature grows with the epochs."""

    hottest: float = Field(8.0, gt=0)
    _context = None

    def start(self, context):
        self._context = context

    def method_losses(self, batch, output, teacher, network):
        share = batch.cursor.epoch / self._context.epochs
        return {"curriculum": losses.kd_loss(output.logits, teacher.logits, 1 + share * 7)}


def test_a_method_of_one_s_own_has_a_module_too():
    student, teacher = rows_of("kd")
    loss = losses.loss_of(Curriculum)(ce=0, kd=0, epochs=7)
    found = loss(student, teacher, LABELS[:N], epoch=1)
    assert torch.equal(found, losses.kd_loss(student.logits, teacher.logits, 2))
    with pytest.raises(UserError, match="needs the number of epochs: create it with epochs"):
        losses.loss_of(Curriculum)()(student, teacher, LABELS[:N])
    assert losses.loss_of(Curriculum) is losses.loss_of(Curriculum)


def test_every_distiller_is_there_and_documented():
    classes = {class_of(name).__name__ for name in NAMES}
    assert classes <= {*dir(losses)}
    for name in classes:
        loss = getattr(losses, name)
        assert issubclass(loss, losses.DistillationLoss)
        assert loss.__name__ == name and "labels : int64" in loss.__doc__
    with pytest.raises(AttributeError, match=r"unknown loss 'FitNets'.*did you mean 'FitNet'"):
        losses.FitNets  # noqa: B018


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": [1, 2]}, "expected the student's output as logits .* got an object of type l"),
        ({"teacher": torch.zeros(N, 4)}, "student's logits are .4, 3., the teacher's are .4, 4."),
        ({"teacher": torch.zeros(N)}, "expected the teacher's logits as floating-point numbers"),
        ({"labels": LABELS[:2]}, "with B of 1 or more; got 4 rows of logits and labels .2,."),
        ({"labels": torch.zeros(N)}, "labels of whole numbers"),
        ({"labels": [0, 1, 2, 0]}, r"expected labels \(B,\) as a tensor"),
        ({"indices": torch.arange(3)}, r"expected indices \(B,\), one per label; got \(3,\)"),
        ({"epoch": -1}, "epoch -1: expected 0 or more"),
        (
            {"labels": torch.tensor([0, 1, 2, 3])},
            "expected labels from 0 to 2, for 3 classes; got 0",
        ),
        ({"labels": torch.tensor([0, -100, 2, 0])}, "expected labels from 0 to 2.* got -100 to 2"),
        ({"teacher": torch.zeros(N, 3, dtype=torch.float64)}, "teacher's logits are torch.float64"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    student, teacher = rows_of("kd")
    given = {"student": student, "teacher": teacher, "labels": LABELS[:N]}
    with pytest.raises(UserError, match=message):
        losses.KD()(**given | change)


def test_features_that_do_not_fit_are_refused():
    student, teacher = rows_of("fitnet")
    loss = made("fitnet")
    other = student._replace(features=student.features | {"stage2": torch.zeros(N, 5, 8, 8)})
    with pytest.raises(UserError, match=r"'stage2' of shape \(5, 4, 4\), .*; got \(5, 8, 8\)"):
        loss(other, teacher, LABELS[:N])
    with pytest.raises(UserError, match=r"teacher's feature 'stem' .*; got no such feature"):
        loss(student, teacher.logits, LABELS[:N])
    fewer = student._replace(features=student.features | {"pooled": torch.zeros(2, 6)})
    with pytest.raises(UserError, match="'pooled' has 2 rows, its logits have 4"):
        loss(fewer, teacher, LABELS[:N])
    with pytest.raises(UserError, match="PKT needs the student's feature 'pooled'; it got logits"):
        losses.PKT()(student.logits, teacher, LABELS[:N])
    with pytest.raises(UserError, match="this method needs the features of both networks"):
        losses.AT()
    with pytest.raises(UserError, match=r"the loss has layers of torch.float32, the outputs are"):
        loss(*rows_of("fitnet", dtype=torch.float64), LABELS[:N])


def test_outputs_of_two_types_are_refused():
    for name in NAMES:
        student, teacher = rows_of(name)
        wide = {key: value.double() for key, value in teacher.features.items()}
        with pytest.raises(UserError, match=r"the teacher's \w+ are torch.float64, the stud"):
            made(name)(student, teacher._replace(features=wide), LABELS[:N], torch.arange(N))


@pytest.mark.parametrize("given", [5, "32", (), (0, 4), (2.5,), torch.zeros(2, 6), None])
def test_what_is_no_shape_of_a_feature_is_refused(given):
    with pytest.raises(UserError, match=r"the shape of the student's feature 'pooled' without"):
        losses.CC({"pooled": given}, {"pooled": (6,)})


def test_sizes_of_numpy_are_sizes():
    sizes = {"pooled": (np.int64(6),)}
    student, teacher = rows_of("cc")
    features = {"pooled": torch.ones(N, 6)}
    outputs = (one._replace(features=features) for one in (student, teacher))
    assert losses.CC(sizes, sizes)(*outputs, LABELS[:N]).isfinite()


def test_logits_of_other_shapes_are_not_stretched():
    student, teacher = torch.zeros(8, 4), torch.zeros(1, 4)
    for call in (
        lambda: losses.kd_loss(student, teacher, 4.0),
        lambda: decoupled_losses(student, teacher, torch.zeros(8).long(), 4.0),
        lambda: correlation_losses(student, teacher, 4.0),
    ):
        with pytest.raises(UserError, match=r"got \(8, 4\) of the student and \(1, 4\) of the"):
            call()


def test_crd_refuses_labels_and_rows_that_its_memory_has_not():
    with pytest.raises(UserError, match=r"expected labels \(N,\), one class .* got \(2, 3\)"):
        losses.CRD(STUDENT, SAME_SIZE, labels=torch.zeros(2, 3).long())
    with pytest.raises(UserError, match="expected labels from 0 to 1, for 2 classes; got 0 to 2"):
        losses.CRD(STUDENT, SAME_SIZE, labels=LABELS, n_classes=2)
    rows = torch.arange(N) + len(LABELS)
    with pytest.raises(UserError, match=f"expected indices from 0 to {len(LABELS) - 1}, for"):
        made("crd")(*rows_of("crd"), LABELS[:N], rows)


def test_crd_says_what_it_needs():
    with pytest.raises(UserError, match="needs the labels of the training images: create it with"):
        losses.CRD(STUDENT, SAME_SIZE)
    with pytest.raises(UserError, match="needs the rows of the batch's images in the training set"):
        made("crd")(*rows_of("crd"), LABELS[:N])


def test_settings_are_checked_as_those_of_a_study():
    with pytest.raises(UserError, match=r"CRD.*unknown key 'negative'.*did you mean 'negatives'"):
        losses.CRD(STUDENT, SAME_SIZE, labels=LABELS, negative=3)
    with pytest.raises(UserError, match="table5: expected 'standard' or 'soteacher'; got 'mine'"):
        losses.KD(table5="mine")


def test_the_loops_of_the_document_run():
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(compile(block, "docs/losses.md", "exec"), names)
    assert names["total"].isfinite()
    assert names["views"].shape == (256, 3, 16, 16)


def test_the_functions_of_the_document_exist():
    named = re.findall(r"`(soteacher\.distillers\.\w+)\.(\w+)`", DOCUMENT)
    assert len(named) == 11
    for module, name in named:
        assert callable(getattr(importlib.import_module(module), name))
