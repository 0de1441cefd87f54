"""SSKD: its losses against plain loops, what it leaves out, and the head that comes first."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from distilling import SAME_SIZE, batch_of, outputs, site_of, started

from soteacher.core.random import seeded
from soteacher.distillers.sskd import best, kept_divergence

B, K = 4, 3


def method_of(**settings):
    site = site_of(SAME_SIZE)
    method = started("sskd", site, **settings)
    with seeded(4):
        stage = method.term.preparation(replace(site, student_features=None), None, {})
    for module in stage.modules.values():
        module.double()
    method.term.receive(stage.modules)
    return method, stage


def arrays(value):
    return value.detach().numpy()


def softmax(row):
    shares = np.exp(row - row.max())
    return shares / shares.sum()


def projected(head, rows):
    first, _, last = head
    hidden = np.maximum(rows @ arrays(first.weight).T + arrays(first.bias), 0)
    return hidden @ arrays(last.weight).T + arrays(last.bias)


def cosines(head, pooled):
    rows = [row / np.linalg.norm(row) for row in projected(head, arrays(pooled))]
    return np.array([[turned @ upright for upright in rows[:B]] for turned in rows[B:]])


def counted(scores, labels, share):
    """The rows that count: all right ones, and the best of the others."""
    places = []
    for row, label in zip(scores, labels, strict=True):
        order = sorted(range(len(row)), key=lambda k: (-row[k], k))
        places.append(order.index(label))
    right = [i for i, place in enumerate(places) if place == 0]
    wrong = sorted((place, i) for i, place in enumerate(places) if place > 0)
    return right + [i for _, i in wrong[: math.floor(share * len(wrong))]]


def divergence(ours, theirs, temperature, rows):
    total = 0.0
    for i in rows:
        p, q = softmax(theirs[i] / temperature), softmax(ours[i] / temperature)
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(rows)


def expected_of(method, student, teacher, shares=(1.0, 0.75)):
    labels = [i % 3 for i in range(B)] * 3
    logits = [arrays(out.logits)[B:] for out in (student, teacher)]
    heads = (method.modules["head"], method.term._prepared["head"])
    rows = [
        cosines(head, out.features["pooled"])
        for head, out in zip(heads, (student, teacher), strict=True)
    ]
    own = [i for _ in range(3) for i in range(B)]
    return (
        divergence(*logits, 4.0, counted(logits[1], labels, shares[0])),
        divergence(*rows, 0.5, counted(rows[1], own, shares[1])),
    )


@pytest.mark.parametrize("shares", [(1.0, 0.75), (0.5, 0.0), (0.3, 1.0)])
def test_the_losses_are_the_formulas(shares):
    method, _ = method_of(transformed_share=shares[0], similarity_share=shares[1])
    student, teacher = outputs(SAME_SIZE, n=4 * B)
    found = method.losses(batch_of(B), student, teacher)
    transformed, similarity = expected_of(method, student, teacher, shares)
    assert found.keys() == {"ce", "kd", "transformed", "similarity"}
    assert found["transformed"].item() == pytest.approx(2.7 * transformed)
    assert found["similarity"].item() == pytest.approx(10 * similarity)


def test_cross_entropy_and_kd_are_of_the_upright_images():
    method, _ = method_of()
    student, teacher = outputs(SAME_SIZE, n=4 * B)
    found = method.losses(batch_of(B), student, teacher)
    upright = [out._replace(logits=out.logits[:B]) for out in (student, teacher)]
    plain = started("kd", site_of(SAME_SIZE), ce=1.0, kd=1.0)
    expected = plain.losses(batch_of(B), *upright)
    assert all(found[name].equal(expected[name]) for name in ("ce", "kd"))


@pytest.mark.parametrize("what", ["logits", "pooled"])
def test_the_gradients_are_those_of_the_formulas(what):
    method, _ = method_of()
    student, teacher = outputs(SAME_SIZE, n=4 * B)
    logits = student.logits.clone().requires_grad_()
    student = student._replace(logits=logits)
    losses = method.losses(batch_of(B), student, teacher)
    (losses["transformed"] + losses["similarity"]).backward()
    value = logits if what == "logits" else student.features["pooled"]
    random = np.random.default_rng(0)
    for place in [tuple(random.integers(0, size) for size in value.shape) for _ in range(12)]:
        sides = []
        for shift in (1e-6, -1e-6):
            moved = value.detach().clone()
            moved[place] += shift
            other = (
                student._replace(logits=moved)
                if what == "logits"
                else student._replace(features=student.features | {"pooled": moved})
            )
            transformed, similarity = expected_of(method, other, teacher)
            sides.append(2.7 * transformed + 10 * similarity)
        expected = (sides[0] - sides[1]) / 2e-6
        assert value.grad[place].item() == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_a_student_like_its_teacher_loses_nothing_by_either():
    logits = torch.randn(12, K, dtype=torch.float64, requires_grad=True)
    rows = torch.ones(12, dtype=torch.bool)
    loss = kept_divergence(logits, logits.detach(), 4.0, rows)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert logits.grad.abs().max().item() == pytest.approx(0, abs=1e-12)
    assert kept_divergence(logits.roll(1, 0), logits.detach(), 4.0, rows) > 1e-3


def test_with_no_row_left_the_loss_is_nothing():
    logits = torch.randn(5, K, requires_grad=True)
    loss = kept_divergence(logits, torch.randn(5, K), 4.0, torch.zeros(5, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().sum() == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.0, 0.5, 0.75, 1.0])
def test_what_counts_is_all_that_is_right_and_the_best_of_the_others(seed, share):
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (12, 5)).astype(float)  # with ties: sorts are stable
    labels = random.integers(0, 5, 12)
    kept = best(torch.tensor(scores), torch.tensor(labels), share)
    assert sorted(np.flatnonzero(kept.numpy())) == sorted(counted(scores, labels, share))


def test_the_student_s_head_gets_a_gradient():
    method, _ = method_of()
    sum(method.losses(batch_of(B), *outputs(SAME_SIZE, n=4 * B)).values()).backward()
    assert all(p.grad.abs().sum() > 0 for p in method.modules["head"].parameters())


# the head that comes first


def test_the_teacher_s_head_learns_to_find_the_own_upright_image():
    _, stage = method_of()
    _, teacher = outputs(SAME_SIZE, n=4 * B)
    losses = stage.loss(batch_of(B), None, teacher)
    rows = cosines(stage.modules["head"], teacher.features["pooled"])
    own = [i for _ in range(3) for i in range(B)]
    expected = np.mean([-math.log(softmax(row)[i]) for row, i in zip(rows, own, strict=True)])
    assert losses.keys() == {"similarity"}
    assert losses["similarity"].item() == pytest.approx(expected)
    losses["similarity"].backward()
    assert all(p.grad.abs().sum() > 0 for p in stage.modules["head"].parameters())


def test_it_takes_60_epochs_and_a_tenth_of_the_rate_after_30_and_45():
    _, stage = method_of()
    assert stage.epochs == 60 and not stage.student
    rates = [stage.lr(epoch) for epoch in range(60)]
    assert rates == pytest.approx([0.05] * 30 + [0.005] * 15 + [0.0005] * 15)
    _, short = method_of(prepare_epochs=4)
    assert [short.lr(epoch) for epoch in range(4)] == pytest.approx([0.05, 0.05, 0.005, 0.0005])


def test_the_weights_are_the_paper_s_for_both_columns():
    term = type(method_of()[0].term)()
    found = [
        (term.for_teacher(column).transformed_weight, term.for_teacher(column).similarity_weight)
        for column in ("standard", "soteacher")
    ]
    assert found == [(2.7, 10.0), (1.0, 10.0)]
    assert (term.ce, term.kd, term.temperature) == (1.0, 1.0, 4.0)
