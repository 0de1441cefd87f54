"""Every method against `formulas`: value, gradients, properties.

Methods with a loss between features come first, then those that read the logits alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from distilling import (
    SAME_SIZE,
    STUDENT,
    TEACHERS,
    Method,
    batch_of,
    central_differences,
    features_of,
    outputs,
    site_of,
    started,
    with_feature,
)
from formulas import FORMULAS, READS

from soteacher.core import registry
from soteacher.core.cursor import Cursor, Stage
from soteacher.core.errors import UserError
from soteacher.core.random import seeded
from soteacher.distillers.base import FeatureDistiller
from soteacher.models.output import Output

ALL = registry.shipped("distiller")
NAMES = [n for n in ALL if issubclass(registry.get("distiller", n), FeatureDistiller)]
OF_LOGITS = [n for n in ALL if READS.get(n) == ("logits",)]
FEW = {"crd": {"negatives": 4}, "cc": {"dimensions": 4}}
LABELS = (0, 1, 2, 0, 1, 2, 0, 1, 2)
B = 4
WITH_MINIMUM = ("at", "sp", "rkd", "pkt", "nst")
"""Those that are at their least, 0 with no gradient, where the student's features are the
teacher's; the others compare what passed through layers."""


def method_of(name, teacher, student=STUDENT, **settings) -> Method:
    """A started method whose preparation, if it has one, is at its random beginning."""
    site = site_of(teacher, student, LABELS)
    method = started(name, site, **FEW.get(name, {}) | settings)
    with seeded(4):
        prepared = method.term.preparation(replace(site, student_features=None), None, {})
    if prepared is not None and not prepared.student:
        for module in prepared.modules.values():
            module.double().eval().requires_grad_(False)
        method.term.receive(prepared.modules)
    return method


def own_loss(method, name, student, teacher, n=B):
    return method.losses(batch_of(n), student, teacher)[name]


def arrays(output):
    """An output as `formulas` take it: features and logits, by name."""
    values = output.features | {"logits": output.logits}
    return {name: value.detach().numpy() for name, value in values.items()}


def again(method, beginning):
    """Go back to the first step's buffers, but for constants that this step has set for good."""
    if beginning:
        kept = beginning | {"constants": method.term.buffers()["constants"]}
        method.term._kept = copied(kept)


def copied(buffers):
    """Buffers that a step does not change."""
    return {name: value.clone() for name, value in buffers.items()}


def weight_of(method):
    return method.term.weight


@pytest.mark.parametrize("name", ALL)
def test_every_method_has_its_formula_or_its_own_test_file(name):
    """Such a file is for what the formula of one step cannot say, as a first stage."""
    assert name in FORMULAS or Path(__file__).with_name(f"test_{name}.py").is_file()
    assert name in FORMULAS or name not in NAMES
    assert READS.get(name) != ("logits",) or name not in NAMES


def test_every_formula_is_of_a_method():
    assert {*FORMULAS} <= {*ALL}


@pytest.mark.parametrize("size", TEACHERS)
@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_the_formula_s_times_the_weight(name, size):
    method = method_of(name, TEACHERS[size])
    student, teacher = outputs(TEACHERS[size], n=B)
    expected = FORMULAS[name](method, batch_of(B), arrays(student), arrays(teacher))
    found = own_loss(method, name, student, teacher)
    assert found.shape == ()
    assert found.item() == pytest.approx(weight_of(method) * expected, rel=1e-9)


@pytest.mark.parametrize("size", TEACHERS)
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_to_each_feature_is_that_of_the_formula(name, size):
    method = method_of(name, TEACHERS[size])
    student, teacher = outputs(TEACHERS[size], n=B)
    beginning = copied(method.term.buffers())
    own_loss(method, name, student, teacher).backward()
    again(method, beginning)
    read = {key for key, value in student.features.items() if value.grad is not None}
    assert read == set(READS[name])
    random = np.random.default_rng(0)
    for key in READS[name]:
        value = student.features[key]
        places = [tuple(random.integers(0, size) for size in value.shape) for _ in range(6)]
        for place in places:
            sides = []
            for shift in (1e-6, -1e-6):
                moved = arrays(student)
                moved[key] = moved[key].copy()
                moved[key][place] += shift
                sides.append(FORMULAS[name](method, batch_of(B), moved, arrays(teacher)))
            expected = weight_of(method) * (sides[0] - sides[1]) / 2e-6
            scale = value.grad.abs().max().item()
            assert value.grad[place].item() == pytest.approx(expected, rel=1e-4, abs=1e-5 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_extra_modules_are_trained_by_the_loss_s_own_gradient(name):
    method = method_of(name, SAME_SIZE)
    student, teacher = outputs(SAME_SIZE, n=B)
    beginning = copied(method.term.buffers())
    own_loss(method, name, student, teacher).backward()
    parameters = dict(torch.nn.ModuleDict(method.modules).named_parameters())
    for key, parameter in parameters.items():
        assert parameter.grad is not None, key
        if key.endswith("bias") and name in ("fitnet", "ft"):
            continue  # a batch norm takes a convolution's bias away
        place = tuple(0 for _ in parameter.shape)

        def loss(value, parameter=parameter, place=place):
            before = parameter.data[place].item()
            parameter.data[place] = value.item()
            again(method, beginning)
            found = own_loss(method, name, student, teacher).detach()
            parameter.data[place] = before
            return found

        expected = central_differences(loss, parameter.data[place].clone(), step=1e-5).item()
        scale = parameter.grad.abs().max().item()
        found = parameter.grad[place].item()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-5 * scale + 1e-9), key


@pytest.mark.parametrize("name", NAMES)
def test_the_losses_are_ce_kd_and_the_method_s_own_scaled_by_its_weight(name):
    student, teacher = outputs(SAME_SIZE, n=B)
    once, twice = (
        method_of(name, SAME_SIZE, weight=weight).losses(batch_of(B), student, teacher)
        for weight in (1.5, 3.0)
    )
    assert once.keys() == twice.keys() == {"ce", "kd", name}
    assert twice[name].item() == pytest.approx(2 * once[name].item(), rel=1e-12)
    assert all(twice[key].item() == once[key].item() for key in ("ce", "kd"))
    assert once[name].item() != 0


@pytest.mark.parametrize("name", ALL)
def test_the_teacher_gets_no_gradient(name):
    part = registry.get("distiller", name)
    method = method_of(name, SAME_SIZE)
    student, _ = outputs(SAME_SIZE, n=B * part.turns)
    features = features_of(SAME_SIZE, B * part.turns, 2, gradient=True)
    logits = torch.randn(B * part.turns, 3, dtype=torch.float64, requires_grad=True)
    student = student._replace(logits=student.logits.requires_grad_())
    losses = method.losses(batch_of(B), student, Output(logits, features))
    sum(losses.values()).backward()
    assert student.logits.grad.abs().sum() > 0
    assert logits.grad is None and all(value.grad is None for value in features.values())


@pytest.mark.parametrize("name", WITH_MINIMUM)
def test_equal_features_are_the_minimum(name):
    method = method_of(name, STUDENT)
    _, teacher = outputs(STUDENT, n=B)
    same = {key: value.clone().requires_grad_() for key, value in teacher.features.items()}
    loss = own_loss(method, name, Output(teacher.logits, same), teacher)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12 * weight_of(method))
    for key in READS[name]:
        assert same[key].grad.abs().max().item() == pytest.approx(0, abs=1e-7 * weight_of(method))
    for seed in range(3):
        other = Output(teacher.logits, features_of(STUDENT, B, 20 + seed))
        assert own_loss(method, name, other, teacher).item() > 1e-4


@pytest.mark.parametrize(
    "case", ["one image", "two images", "zeros", "a zero image", "equal rows", "equal to it"]
)
@pytest.mark.parametrize("name", NAMES)
def test_odd_batches_have_finite_losses_and_gradients(name, case):
    method = method_of(name, SAME_SIZE)
    n = {"one image": 1, "two images": 2}.get(case, B)
    student, teacher = outputs(SAME_SIZE, n=n)
    if case == "zeros":
        student, teacher = (
            out._replace(features={k: torch.zeros_like(v) for k, v in out.features.items()})
            for out in (student, teacher)
        )
    if case == "a zero image":  # of the student's alone
        features = {k: v.detach().clone() for k, v in student.features.items()}
        for value in features.values():
            value[1] = 0
        student = student._replace(features=features)
    if case == "equal rows":
        student, teacher = (
            out._replace(
                features={k: v.detach()[:1].expand_as(v).clone() for k, v in out.features.items()}
            )
            for out in (student, teacher)
        )
    if case == "equal to it" and name in WITH_MINIMUM:
        method = method_of(name, STUDENT)
        student, teacher = outputs(STUDENT, n=n)
        student = student._replace(features={k: v.clone() for k, v in teacher.features.items()})
    for value in student.features.values():
        value.requires_grad_()
    loss = own_loss(method, name, student, teacher, n)
    loss.backward()
    assert loss.isfinite()
    parameters = torch.nn.ModuleDict(method.modules).parameters()
    grads = [value.grad for value in (*student.features.values(), *parameters)]
    assert all(grad.isfinite().all() for grad in grads if grad is not None)
    # nor are they beyond all measure, as they would be past a vector of length 0
    assert all(
        grad.abs().max() < 1e3 * max(weight_of(method), 1) for grad in grads if grad is not None
    )


@pytest.mark.parametrize("name", ["at", "sp", "rkd", "pkt", "nst", "fitnet", "ft", "vid"])
def test_the_order_of_the_batch_does_not_matter(name):
    method = method_of(name, SAME_SIZE)
    student, teacher = outputs(SAME_SIZE, n=B)
    order = torch.tensor([2, 0, 3, 1])
    found = [
        own_loss(
            method,
            name,
            *(o._replace(features={k: v[i] for k, v in o.features.items()}) for o in pair),
        ).item()
        for i in (torch.arange(B), order)
        for pair in [(student, teacher)]
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-10)


@pytest.mark.parametrize("name", ["fitnet", "ft", "at"])
def test_what_cannot_be_matched_is_refused_in_one_line(name):
    without = {key: shape for key, shape in STUDENT.items() if not key.startswith("stage")}
    with pytest.raises(UserError) as refused:
        method_of(name, SAME_SIZE, without)
    assert "stage" in str(refused.value) and "\n" not in str(refused.value)


# methods that read the logits alone


@pytest.mark.parametrize("epoch", range(4))
@pytest.mark.parametrize("name", OF_LOGITS)
def test_the_whole_loss_of_logits_is_the_formula_s_and_so_is_its_gradient(name, epoch):
    """In each of four epochs, for what grows or falls over them; nothing else gets a gradient."""
    method = started(name, replace(site_of(SAME_SIZE, labels=LABELS), epochs=4))
    batch = batch_of(B, Cursor(Stage.MAIN, epoch, 0))
    student, teacher = outputs(SAME_SIZE, n=B * method.term.turns)
    student.logits.requires_grad_()
    total = sum(method.losses(batch, student, teacher).values())
    ours, theirs = arrays(student), arrays(teacher)
    assert total.item() == pytest.approx(FORMULAS[name](method, batch, ours, theirs), rel=1e-9)
    total.backward()
    assert all(value.grad is None for value in student.features.values())

    def moved(logits):
        values = ours | {"logits": logits.numpy()}
        return torch.tensor(FORMULAS[name](method, batch, values, theirs))

    expected = central_differences(moved, student.logits.detach())
    torch.testing.assert_close(student.logits.grad, expected, rtol=1e-5, atol=1e-8)


# hand-worked


def test_at_of_two_pixels():
    # one image, one channel, two pixels: (3, 4) gives attention (9, 16) / sqrt(337); (1, 0): (1, 0)
    method = method_of("at", SAME_SIZE, weight=1)
    student, teacher = outputs(SAME_SIZE, n=1)
    method.term._stages = ("stage1",)
    ours = with_feature(student, "stage1", torch.tensor([[[[3.0, 4.0]]]]).double())
    theirs = with_feature(teacher, "stage1", torch.tensor([[[[1.0, 0.0]]]]).double())
    expected = ((9 / 337**0.5 - 1) ** 2 + (16 / 337**0.5) ** 2) / 2
    assert own_loss(method, "at", ours, theirs, 1).item() == pytest.approx(expected)


def test_rkd_of_three_points_on_a_line_and_in_a_triangle():
    # 0, 1, 3 on a line: distances 1, 3, 2, mean 2; an equilateral triangle: all equal, so 1
    # distances over mean differ by -1/2, 1/2, 0, each twice in 9: h = 4 * (1/8) / 9
    # cosines on the line are 1, -1, 1 at the three points; in the triangle 1/2: they differ by
    # 1/2, -3/2, 1/2, each twice in 27 (cosines of a ray with itself are 1 in both)
    method = method_of("rkd", SAME_SIZE, weight=1)
    student, teacher = outputs(SAME_SIZE, n=3)
    line = torch.tensor([[0.0], [1.0], [3.0]]).double()
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]]).double()
    found = own_loss(
        method,
        "rkd",
        with_feature(student, "pooled", line),
        with_feature(teacher, "pooled", triangle),
        3,
    )
    distance, angle = 4 * 0.125 / 9, 2 * (0.125 + 1.0 + 0.125) / 27
    assert found.item() == pytest.approx(25 * distance + 50 * angle)


def test_cc_multiplies_what_consecutive_images_differ_by():
    method = method_of("cc", SAME_SIZE, weight=1, dimensions=2)
    for module, bias in zip(method.modules.values(), ((1.0, -2.0), (0.0, 0.0)), strict=True):
        torch.nn.init.zeros_(module.weight)
        module.bias.data = torch.tensor(bias).double()
    student, teacher = outputs(SAME_SIZE, n=3)
    assert own_loss(method, "cc", student, teacher, 3).item() == pytest.approx(1 * 1 + 2 * 2)


def test_vid_starts_with_a_variance_of_5():
    method = method_of("vid", SAME_SIZE)
    for scales in method.modules["scales"].values():
        variances = torch.nn.functional.softplus(scales.detach()) + 1e-5
        assert variances.numpy() == pytest.approx(5.0, rel=1e-6)
