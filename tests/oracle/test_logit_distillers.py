"""DKD, DIST and logit standardization: what their formulas imply, and cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from distilling import SAME_SIZE, batch_of, site_of, started
from formulas import softmax

from soteacher.core.cursor import Cursor, Stage
from soteacher.distillers.base import kd_loss
from soteacher.distillers.dist import correlation_losses, correlations
from soteacher.distillers.dkd import DKD, decoupled_losses
from soteacher.distillers.logit_standardization import LogitStandardization, standardized
from soteacher.models.output import Output

B, K = 6, 5
OWN = {
    "dkd": ("tckd", "nckd"),
    "dist": ("dist_images", "dist_classes"),
    "logit_standardization": ("standardized_kd",),
}
"""Method to its losses, besides cross-entropy and the undivided divergence of weight 0."""


def drawn(seed=0):
    random = np.random.default_rng(seed)
    student, teacher = torch.tensor(3 * random.standard_normal((2, B, K)))
    return student.requires_grad_(), teacher, torch.tensor(random.integers(0, K, B))


def own_losses(name, student, teacher, epoch=0, **settings):
    """The method's losses of logits of three classes, with labels 0, 1, 2, 0, ..."""
    method = started(name, site_of(SAME_SIZE), **settings)
    batch = batch_of(len(student), Cursor(Stage.MAIN, epoch, 0))
    losses = method.losses(batch, Output(student, {}), Output(teacher, {}))
    assert losses.keys() == {"ce", "kd", *OWN[name]}
    assert losses["kd"].item() == 0
    return {key: losses[key] for key in OWN[name]}


@pytest.mark.parametrize("name", OWN)
def test_equal_logits_are_the_minimum(name):
    teacher = torch.randn(B, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    student = teacher.clone().requires_grad_()
    loss = sum(own_losses(name, student, teacher, epoch=50).values())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert student.grad.abs().max().item() == pytest.approx(0, abs=1e-8)
    for seed in range(3):
        draws = torch.Generator().manual_seed(seed + 1)
        other = torch.randn(B, 3, dtype=torch.float64, generator=draws)
        assert sum(own_losses(name, other, teacher, epoch=50).values()).item() > 1e-3


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("case", ["equal logits", "extreme", "one image"])
def test_odd_logits_have_finite_losses_and_gradients(name, case):
    """In float32, as in training."""
    n = 1 if case == "one image" else B
    teacher = torch.randn(n, 3, generator=torch.Generator().manual_seed(0))
    student = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    if case == "equal logits":
        student = torch.full((n, 3), 1.5)
    if case == "extreme":
        student, teacher = 1e4 * student, -1e4 * teacher
    student.requires_grad_()
    loss = sum(own_losses(name, student, teacher, epoch=50).values())
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all()
    assert student.grad.abs().max() < 100


@pytest.mark.parametrize("name", OWN)
def test_the_order_of_the_batch_does_not_matter(name):
    random = np.random.default_rng(3)
    student, teacher = torch.tensor(random.standard_normal((2, 6, 3)))
    order = torch.tensor([3, 1, 5, 0, 4, 2])  # labels stay 0, 1, 2, 0, 1, 2
    found = [
        [loss.item() for loss in own_losses(name, student[i], teacher[i]).values()]
        for i in (torch.arange(6), order)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


# DKD


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_parts_of_dkd_add_up_to_the_undivided_divergence(temperature):
    """KD = TCKD + mean over B of (1 - p_y) * NCKD of the image: Eq. 5 of the paper of DKD."""
    student, teacher, labels = drawn()
    total = 0.0
    for i in range(B):
        one = slice(i, i + 1)
        target, others = decoupled_losses(student[one], teacher[one], labels[one], temperature)
        unsure = 1 - softmax(teacher.numpy() / temperature)[i, labels[i]]
        total += (target + unsure * others).item() / B
    assert total == pytest.approx(kd_loss(student, teacher, temperature).item(), rel=1e-10)


def test_dkd_of_three_classes_by_hand():
    # T = 2; softened teacher (1/2, 1/4, 1/4), student (1/4, 1/2, 1/4), the label is class 0
    # TCKD = 1/2 ln 2 + 1/2 ln (1/2 / 3/4); NCKD of (1/2, 1/2) and (2/3, 1/3); both times 4
    teacher = 2 * torch.tensor([[2.0, 1.0, 1.0]], dtype=torch.float64).log()
    student = 2 * torch.tensor([[1.0, 2.0, 1.0]], dtype=torch.float64).log()
    target, others = decoupled_losses(student, teacher, torch.tensor([0]), 2.0)
    assert target.item() == pytest.approx(4 * 0.5 * (math.log(2) + math.log(2 / 3)))
    assert others.item() == pytest.approx(4 * 0.5 * (math.log(3 / 4) + math.log(3 / 2)))


def test_the_gradient_of_nckd_leaves_the_label_s_logit_alone():
    student, teacher, labels = drawn()
    _, others = decoupled_losses(student, teacher, labels, 4.0)
    others.backward()
    of_label = student.grad.gather(1, labels[:, None])
    assert of_label.abs().max().item() == 0
    assert student.grad.abs().sum() > 0.1
    assert student.grad.sum(dim=1).abs().max().item() == pytest.approx(0, abs=1e-12)


def test_with_two_classes_there_are_no_other_classes_to_compare():
    student, teacher, _ = drawn()
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    target, others = decoupled_losses(student[:, :2], teacher[:, :2], labels, 4.0)
    assert others.item() == 0
    assert target.item() == pytest.approx(kd_loss(student[:, :2], teacher[:, :2], 4.0).item())


@pytest.mark.parametrize(
    ("warm_up", "epoch", "share"),
    [(20, 0, 1 / 20), (20, 18, 19 / 20), (20, 19, 1), (20, 200, 1), (0, 0, 1), (2, 0, 1 / 2)],
)
def test_the_weights_of_dkd_grow_over_the_warm_up(warm_up, epoch, share):
    student, teacher, _ = drawn()
    student, teacher = student[:, :3], teacher[:, :3]
    full = own_losses("dkd", student, teacher, warm_up=0)
    found = own_losses("dkd", student, teacher, epoch, warm_up=warm_up)
    for key, loss in full.items():
        assert found[key].item() == pytest.approx(share * loss.item(), rel=1e-12)


def test_the_defaults_are_the_authors():
    dkd, standard = DKD(), LogitStandardization()
    found = (dkd.ce, dkd.kd, dkd.target_weight, dkd.others_weight, dkd.temperature, dkd.warm_up)
    assert found == (1, 0, 1, 8, 4, 20)
    assert (standard.ce, standard.kd, standard.weight, standard.temperature) == (0.1, 0, 9, 2)


# DIST


def test_correlations_are_numpy_s_and_ignore_shift_and_scale():
    random = np.random.default_rng(1)
    ours, theirs = random.standard_normal((2, 4, 7))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours, theirs, strict=True)]
    ours, theirs = torch.tensor(ours), torch.tensor(theirs)
    assert correlations(ours, theirs).numpy() == pytest.approx(np.array(expected), rel=1e-12)
    moved = correlations(3 * ours + 5, theirs).numpy()
    assert moved == pytest.approx(np.array(expected), rel=1e-10)
    assert correlations(ours, -ours).numpy() == pytest.approx(-1)


def test_one_image_has_no_correlation_between_images():
    student, teacher, _ = drawn()
    _, classes = correlation_losses(student[:1], teacher[:1], 4.0)
    classes.backward()
    assert classes.item() == 16  # of T^2 * (1 - 0)
    assert student.grad.abs().max().item() == 0


# logit standardization


def test_standardized_logits_are_those_of_numpy():
    _, teacher, _ = drawn()
    rows = teacher.numpy()
    expected = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, ddof=1, keepdims=True)
    np.testing.assert_allclose(standardized(teacher), expected, rtol=1e-12)


def test_the_size_and_place_of_the_student_s_logits_do_not_matter():
    student, teacher, _ = drawn()
    student, teacher = student[:, :3], teacher[:, :3]
    [found] = own_losses("logit_standardization", student, teacher).values()
    [moved] = own_losses("logit_standardization", 7 * student - 2, teacher).values()
    [turned] = own_losses("logit_standardization", -student, teacher).values()
    assert moved.item() == pytest.approx(found.item(), rel=1e-10)
    assert turned.item() != pytest.approx(found.item(), rel=1e-2)
