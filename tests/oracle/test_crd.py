"""CRD: whom an image is contrasted with, and what the memories become."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from distilling import FIRST, SAME_SIZE, batch_of, outputs, site_of, started
from torch.utils._python_dispatch import TorchDispatchMode

from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError

UNEQUAL = (0, 0, 0, 0, 1, 1, 2, 2, 2, 0)


def method_of(labels=UNEQUAL, negatives=3, seed=7):
    site = replace(site_of(SAME_SIZE, labels=labels), seed=seed)
    return started("crd", site, negatives=negatives, dimensions=4)


def batch_at(labels, indices, moment):
    batch = batch_of(len(indices), moment)
    return replace(batch, indices=indices, labels=torch.tensor(labels)[indices])


def drawn(method, labels, indices, moment=FIRST):
    return method.term.drawn(batch_at(labels, indices, moment))


def test_negatives_are_of_other_classes_and_none_is_there_twice():
    method, indices = method_of(), torch.arange(10)
    for step in range(20):
        found = drawn(method, UNEQUAL, indices, Cursor(Stage.MAIN, 1, step))
        assert found.shape == (10, 3)
        for index, others in zip(indices.tolist(), found.tolist(), strict=True):
            assert len(set(others)) == 3
            assert all(UNEQUAL[other] != UNEQUAL[index] for other in others)


def test_each_image_of_another_class_is_drawn_equally_often():
    method, n = method_of(), 3000
    counts = np.zeros(10)
    for step in range(n):
        found = drawn(method, UNEQUAL, torch.tensor([4]), Cursor(Stage.MAIN, 0, step))
        counts[found.numpy()] += 1
    assert counts[[4, 5]].sum() == 0
    share = counts[[0, 1, 2, 3, 6, 7, 8, 9]] / n
    assert share == pytest.approx(3 / 8, abs=0.04)  # 4.5 standard deviations


def test_as_many_as_there_are_take_all_of_them():
    found = drawn(method_of(negatives=5), UNEQUAL, torch.tensor([0]))
    assert sorted(found[0].tolist()) == [4, 5, 6, 7, 8]


def test_the_draws_are_those_of_seed_epoch_and_step():
    indices = torch.arange(10)
    moments = [Cursor(Stage.MAIN, *at) for at in ((0, 0), (0, 1), (1, 0))]
    first, second = ([drawn(method_of(), UNEQUAL, indices, at) for at in moments] for _ in "ab")
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
    others = [*first, drawn(method_of(seed=8), UNEQUAL, indices, moments[0])]
    assert len({tuple(found.flatten().tolist()) for found in others}) == 4


def test_more_negatives_than_the_largest_class_leaves_are_refused_with_the_most_possible():
    with pytest.raises(UserError, match=r"6 images.*only 5.*`negatives`") as refused:
        method_of(negatives=6)
    assert "\n" not in str(refused.value)


def test_the_memories_begin_uniform_and_their_rows_move_half_of_the_way():
    method = method_of()
    before = {name: value.clone() for name, value in method.term.buffers().items()}
    for name in ("student_memory", "teacher_memory"):
        assert before[name].shape == (10, 4)
        assert before[name].abs().max() <= (3 / 4) ** 0.5
    assert not before["student_memory"].equal(before["teacher_memory"])
    student, teacher = outputs(SAME_SIZE, n=2)
    batch = batch_at(UNEQUAL, torch.tensor([7, 2]), Cursor(Stage.MAIN, 0, 0))
    method.losses(batch, student, teacher)
    after = method.term.buffers()
    for side, output in (("student", student), ("teacher", teacher)):
        layer = method.modules[f"{side}_embedding"]
        embedded = layer(output.features["pooled"]).detach().numpy()
        for row, index in zip(embedded, (7, 2), strict=True):
            moved = before[f"{side}_memory"][index].numpy() + row / np.linalg.norm(row)
            expected = moved / np.linalg.norm(moved)
            np.testing.assert_allclose(after[f"{side}_memory"][index], expected, rtol=1e-5)
        left = [i for i in range(10) if i not in (7, 2)]
        assert after[f"{side}_memory"][left].equal(before[f"{side}_memory"][left])


def test_the_first_memories_have_rows_of_length_1_on_average_and_are_the_seed_s():
    labels = tuple(i % 3 for i in range(3000))
    first, again, other = (
        method_of(labels, seed=seed).term.buffers()["student_memory"] for seed in (7, 7, 8)
    )
    assert first.mean().item() == pytest.approx(0, abs=0.03)
    assert first.square().sum(dim=1).mean().item() == pytest.approx(1, abs=0.05)
    assert first.equal(again) and not first.equal(other)


class Refused(TorchDispatchMode):
    """Operations that make a step wait for a GPU, or sort all images."""

    NAMES: ClassVar = {"gather", "scatter_add", "scatter_add_", "sort", "argsort", "index_copy"}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func._schema.name.removeprefix("aten::") not in self.NAMES, func
        return func(*args, **(kwargs or {}))


def test_a_step_gathers_and_sorts_nothing():
    method = method_of()
    batch = batch_at(UNEQUAL, torch.tensor([0, 5]), FIRST)
    student, teacher = outputs(SAME_SIZE, n=2)
    with Refused():
        losses = method.term.feature_loss(batch, student.features, teacher.features)
        losses.backward()


def test_the_memories_may_change_between_the_loss_and_its_gradient():
    """The loss keeps its own gradient: two steps' losses can be summed before a backward pass."""
    batches = [batch_at(UNEQUAL, torch.tensor(rows), FIRST) for rows in ([0, 5], [5, 8])]
    found = []
    for together in (True, False):
        method = method_of()
        total, value = 0.0, outputs(SAME_SIZE, n=2)[0].features["pooled"].detach()
        pooled = value.requires_grad_()
        teacher = outputs(SAME_SIZE, n=2)[1].features
        for batch in batches:
            loss = method.term.feature_loss(batch, {"pooled": pooled}, teacher)
            total = total + loss if together else loss.backward() or 0.0
        if together:
            total.backward()
        found.append(pooled.grad)
    torch.testing.assert_close(*found)


def test_the_constants_are_the_first_batch_s_for_good():
    method = method_of()
    assert method.term.buffers()["constants"].tolist() == [0, 0]
    seen = []
    for step in range(2):
        batch = batch_at(UNEQUAL, torch.tensor([0, 5]), Cursor(Stage.MAIN, 0, step))
        method.losses(batch, *outputs(SAME_SIZE, n=2))
        seen.append(method.term.buffers()["constants"].tolist())
    assert seen[0] == seen[1] and min(seen[0]) > 0


def test_the_paper_s_settings_are_the_defaults():
    term = started("crd", site_of(SAME_SIZE, labels=UNEQUAL), negatives=1).term
    fields = type(term).model_fields
    found = {name: fields[name].default for name in ("negatives", "momentum", "dimensions")}
    assert found == {"negatives": 16384, "momentum": 0.5, "dimensions": 128}
    assert term.contrast_temperature == 0.07
