"""Knowledge distillation against NumPy in float64: values, gradients and properties."""

import numpy as np
import pytest
import torch

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.distillers.base import kd_loss
from soteacher.distillers.kd import KD
from soteacher.models.output import Output

B, K = 5, 7
SETTINGS = (
    {},  # alpha 0.5, T 4
    {"ce": 1.0, "kd": 1.0, "temperature": 4.0},
    {"ce": 0.1, "kd": 0.9, "temperature": 1.0},
    {"ce": 0.0, "kd": 2.0, "temperature": 20.0},
    {"ce": 0.7, "kd": 0.0, "temperature": 0.5},
)


def weights_of(settings):
    """(ce, kd, T), the defaults as Appendix D.2 has them."""
    return settings.get("ce", 0.5), settings.get("kd", 0.5), settings.get("temperature", 4.0)


def drawn():
    random = np.random.default_rng(11)
    student, teacher = 3 * random.standard_normal((2, B, K))
    return student, teacher, random.integers(0, K, B)


def losses_of(term, student, teacher, labels):
    at = Cursor(Stage.MAIN, 0, 0)
    labels = torch.as_tensor(labels)
    batch = Batch(torch.zeros(len(labels), 3, 4, 4), labels, torch.arange(len(labels)), at)
    return term.losses(batch, Output(student, {}), Output(teacher, {}), torch.nn.Identity())


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def plain_cross_entropy(student, labels):
    return sum(-np.log(softmax(student)[i, label]) for i, label in enumerate(labels)) / B


def plain_divergence(student, teacher, temperature):
    total = 0.0
    for p, q in zip(softmax(teacher / temperature), softmax(student / temperature), strict=True):
        for p_k, q_k in zip(p, q, strict=True):
            total += p_k * (np.log(p_k) - np.log(q_k))
    return temperature**2 * total / B


@pytest.mark.parametrize("settings", SETTINGS)
def test_losses_are_the_weighted_cross_entropy_and_divergence(settings):
    student, teacher, labels = drawn()
    ce, kd, temperature = weights_of(settings)
    losses = losses_of(KD(**settings), torch.tensor(student), torch.tensor(teacher), labels)
    assert {name: loss.item() for name, loss in losses.items()} == {
        "ce": pytest.approx(ce * plain_cross_entropy(student, labels), rel=1e-10),
        "kd": pytest.approx(kd * plain_divergence(student, teacher, temperature), rel=1e-10),
    }


def test_two_classes_give_the_hand_worked_divergence():
    # T = 2: softened logits (ln 3, 0) and (0, 0), so p_T = (3/4, 1/4) and p_S = (1/2, 1/2);
    # KL = 3/4 ln 3/2 + 1/4 ln 1/2 = 0.1308120, times T^2 = 4
    teacher = torch.tensor([[2 * np.log(3), 0.0]])
    assert kd_loss(torch.zeros(1, 2).double(), teacher, 2.0).item() == pytest.approx(0.523248144)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradient_to_the_student_is_the_closed_form(settings):
    student, teacher, labels = drawn()
    ce, kd, temperature = weights_of(settings)
    logits = torch.tensor(student, requires_grad=True)
    sum(losses_of(KD(**settings), logits, torch.tensor(teacher), labels).values()).backward()
    softened = softmax(student / temperature) - softmax(teacher / temperature)
    hard = softmax(student) - np.eye(K)[labels]
    expected = (ce * hard + kd * temperature * softened) / B
    np.testing.assert_allclose(logits.grad, expected, rtol=1e-8, atol=1e-12)


def test_gradient_of_the_divergence_is_that_of_central_differences():
    student, teacher, _ = drawn()
    logits = torch.tensor(student, requires_grad=True)
    kd_loss(logits, torch.tensor(teacher), 3.0).backward()
    expected, step = np.zeros((B, K)), 1e-5
    for place in np.ndindex(B, K):
        shift = np.zeros((B, K))
        shift[place] = step
        above = plain_divergence(student + shift, teacher, 3.0)
        expected[place] = (above - plain_divergence(student - shift, teacher, 3.0)) / (2 * step)
    np.testing.assert_allclose(logits.grad, expected, rtol=1e-5, atol=1e-8)


def test_the_teacher_gets_no_gradient():
    student, teacher, labels = drawn()
    wanted = torch.tensor(student, requires_grad=True)
    constant = torch.tensor(teacher, requires_grad=True)
    sum(losses_of(KD(), wanted, constant, labels).values()).backward()
    assert wanted.grad.abs().sum() > 0
    assert constant.grad is None


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_equal_logits_have_no_divergence_and_no_gradient_from_it(temperature):
    student, _, labels = drawn()
    logits = torch.tensor(student, requires_grad=True)
    shifted = torch.tensor(student) + 3.5  # the same predictions
    for teacher in (torch.tensor(student), shifted):
        loss = losses_of(KD(ce=0.0, temperature=temperature), logits, teacher, labels)["kd"]
        [gradient] = torch.autograd.grad(loss, logits)
        assert loss.item() == pytest.approx(0.0, abs=1e-12)
        assert gradient.abs().max().item() == pytest.approx(0.0, abs=1e-12)


def test_other_predictions_have_a_divergence_above_zero_that_is_not_symmetric():
    student, teacher, _ = (torch.tensor(values) for values in drawn())
    there, back = kd_loss(student, teacher, 4.0).item(), kd_loss(teacher, student, 4.0).item()
    assert there > 0 and back > 0
    assert there != pytest.approx(back, rel=1e-3)


def test_extreme_float32_logits_stay_finite():
    student = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-200.0, 200.0, 0.0]])
    loss = kd_loss(student, teacher, 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(400.0)  # p_T is one-hot at the second class
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_batch_does_not_matter(seed):
    student, teacher, labels = (torch.tensor(values) for values in drawn())
    order = torch.randperm(B, generator=torch.Generator().manual_seed(seed))
    straight = losses_of(KD(), student, teacher, labels)
    permuted = losses_of(KD(), student[order], teacher[order], labels[order])
    for name, loss in straight.items():
        assert permuted[name].item() == pytest.approx(loss.item(), rel=1e-12)


def test_pairs_of_student_and_teacher_are_kept_together():
    student, teacher, labels = (torch.tensor(values) for values in drawn())
    paired = losses_of(KD(), student, teacher, labels)["kd"].item()
    crossed = losses_of(KD(), student, teacher.roll(1, dims=0), labels)["kd"].item()
    assert crossed != pytest.approx(paired, rel=1e-3)
