"""AB: the first stage's loss against plain loops, its connectors, and a weight without effect."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from distilling import SAME_SIZE, STUDENT, TEACHERS, batch_of, outputs, site_of, started
from torch import nn

from soteacher.core.random import seeded

STAGES = ("stage1_pre", "stage2_pre", "stage3_pre")


class Network(nn.Module):
    """As much of a network as the method asks for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def trunk(self):
        return nn.ModuleList([self.layer])


def prepared(teacher, student=STUDENT, **settings):
    method = started("ab", site_of(teacher, student), **settings)
    with seeded(4):
        found = method.term.preparation(site_of(teacher, student), Network(), {})
    for module in found.modules.values():
        module.double()
    return found


def formula(students, teachers, margin, n):
    total = 0.0
    for level, (ours, theirs) in enumerate(zip(students, teachers, strict=True), start=1):
        for s, t in zip(ours.ravel(), theirs.ravel(), strict=True):
            if t <= 0 and s > -margin:
                total += 2.0 ** (level - 3) * (s + margin) ** 2
            if t > 0 and s <= margin:
                total += 2.0 ** (level - 3) * (s - margin) ** 2
    return total * 3 / 1000 / n


@pytest.mark.parametrize("margin", [1.0, 0.25])
def test_the_first_stage_s_loss_is_the_formula_where_shapes_are_equal(margin):
    stage = prepared(STUDENT, margin=margin)
    student, teacher = outputs(STUDENT, n=3)
    losses = stage.loss(batch_of(3), student, teacher)
    ours, theirs = (
        [out.features[name].detach().numpy() for name in STAGES] for out in (student, teacher)
    )
    assert losses.keys() == {"boundaries"}
    assert losses["boundaries"].item() == pytest.approx(formula(ours, theirs, margin, 3))
    losses["boundaries"].backward()
    assert {k for k, v in student.features.items() if v.grad is not None} == {*STAGES}
    for level, name in enumerate(STAGES, start=1):
        s, t = student.features[name].detach().numpy(), teacher.features[name].numpy()
        slope = np.where(t <= 0, (s + margin) * (s > -margin), (s - margin) * (s <= margin))
        expected = 2 * 2.0 ** (level - 3) * slope * 3 / 1000 / 3
        np.testing.assert_allclose(student.features[name].grad.numpy(), expected, atol=1e-15)


@pytest.mark.parametrize("size", TEACHERS)
def test_connectors_give_the_student_s_maps_the_teacher_s_shapes(size):
    stage = prepared(TEACHERS[size])
    student, teacher = outputs(TEACHERS[size], n=3)
    connectors = stage.modules["connectors"]
    made = {name: connectors[name](student.features[name]) for name in STAGES}
    assert {k: v.shape for k, v in made.items()} == {k: teacher.features[k].shape for k in STAGES}
    assert not any(isinstance(module, nn.ReLU) for module in connectors.modules())
    found = stage.loss(batch_of(3), student, teacher)["boundaries"]
    ours = [value.detach().numpy() for value in made.values()]
    theirs = [teacher.features[name].numpy() for name in STAGES]
    assert found.item() == pytest.approx(formula(ours, theirs, 1.0, 3))
    found.backward()
    assert all(p.grad is not None for p in connectors.parameters())


def test_neurons_beyond_their_boundary_cost_nothing():
    stage = prepared(STUDENT)
    student, teacher = outputs(STUDENT, n=2)
    beyond = {k: torch.where(v > 0, 1.5, -1.5) for k, v in teacher.features.items()}
    assert stage.loss(batch_of(2), student._replace(features=beyond), teacher)["boundaries"] == 0


def test_it_trains_trunk_and_connectors_at_the_recipe_s_first_rate_for_30_epochs():
    stage = prepared(SAME_SIZE)
    assert stage.modules.keys() == {"connectors", "trunk"}
    assert stage.epochs == 30 and stage.lr is None and stage.student


def test_the_second_stage_is_ce_and_kd_whatever_the_weight():
    student, teacher = outputs(SAME_SIZE)
    site, batch = site_of(SAME_SIZE), batch_of(5)
    light, heavy = (
        started("ab", site, weight=weight).losses(batch, student, teacher) for weight in (0.5, 1e6)
    )
    assert light.keys() == heavy.keys() == {"ce", "kd"}
    assert all(light[name].equal(heavy[name]) for name in light)
    plain = started("kd", site, ce=1.0, kd=1.0).losses(batch, student, teacher)
    assert all(light[name].equal(plain[name]) for name in light)


def test_there_is_nothing_to_learn_of_the_teacher_alone():
    assert started("ab", site_of(SAME_SIZE)).term.preparation(site_of(SAME_SIZE), None, {}) is None
