"""MCMI's divergence from class means: against plain loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.models.output import Output
from soteacher.regularizers.mcmi import MCMI, divergence, update_log_means
from soteacher.terms import RunContext

B, K, N, EPOCHS = 5, 4, 12, 10


def softmax(logits):
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def means_by_hand(logits, labels):
    """The mean prediction of each class, (K, K), image by image."""
    total, counts = np.zeros((K, K)), np.zeros(K)
    for row, label in zip(softmax(logits), labels, strict=True):
        total[label] += row
        counts[label] += 1
    return total / counts[:, None]


def divergence_by_hand(logits, means):
    """Image by image and class by class, `means` (B, K)."""
    total = 0.0
    for row, mean in zip(softmax(logits), means, strict=True):
        for p, q in zip(row, mean, strict=True):
            total += p * np.log(p / q)
    return total / len(logits)


def drawn(seed=0):
    """Logits of a batch and of a training set, and their labels."""
    random = np.random.default_rng(seed)
    every = np.arange(N) % K
    return (
        2 * random.standard_normal((B, K)),
        random.integers(0, K, B),
        2 * random.standard_normal((N, K)),
        random.permutation(every),
    )


def started(fine_tunes=False, **settings):
    term, labels = MCMI(**settings), torch.arange(N) % K
    context = RunContext(N, K, EPOCHS, "cpu", None, None, 0, "teacher", labels, fine_tunes)
    term.start(context)
    return term


def losses(term, logits, labels, epoch):
    images = torch.zeros(len(labels), 3, 2, 2, dtype=torch.float64)
    cursor = Cursor(Stage.MAIN, epoch, 0)
    batch = Batch(images, torch.as_tensor(labels), torch.arange(len(labels)), cursor)
    return term.losses(batch, Output(torch.as_tensor(logits), {}), None, None)


def log_means_of(logits, labels):
    """Those of `update_log_means` in float64, which a run keeps in float32."""
    found = torch.zeros(K, K, dtype=torch.float64)
    update_log_means(found, torch.as_tensor(logits), torch.as_tensor(labels))
    return found


def test_the_class_means_are_those_of_plain_loops():
    _, _, logits, labels = drawn()
    found = log_means_of(logits, labels).exp().numpy()
    np.testing.assert_allclose(found, means_by_hand(logits, labels), rtol=1e-12)


def test_the_divergence_is_that_of_plain_loops():
    logits, labels, train, train_labels = drawn()
    means = means_by_hand(train, train_labels)
    rows = torch.tensor(means)[torch.tensor(labels)].log()
    found = divergence(torch.tensor(logits), rows).item()
    assert found == pytest.approx(divergence_by_hand(logits, means[labels]), rel=1e-12)


def test_the_gradient_is_that_of_central_differences_with_constant_means():
    logits, labels, train, train_labels = drawn()
    means = means_by_hand(train, train_labels)[labels]
    at, expected = torch.tensor(logits, requires_grad=True), np.zeros((B, K))
    divergence(at, torch.tensor(means).log()).backward()
    for place in np.ndindex(B, K):
        shift = np.zeros((B, K))
        shift[place] = 1e-6
        more, less = (divergence_by_hand(logits + s, means) for s in (shift, -shift))
        expected[place] = (more - less) / 2e-6
    np.testing.assert_allclose(at.grad, expected, rtol=1e-6, atol=1e-9)


def test_two_classes_by_hand():
    # softmax (ln 3, 0) = (3/4, 1/4) and softmax (0, 0) = (1/2, 1/2) have the mean (5/8, 3/8)
    logits = torch.tensor([[np.log(3.0), 0.0], [0.0, 0.0]], dtype=torch.float64)
    means = torch.zeros(2, 2, dtype=torch.float64)
    update_log_means(means, logits, torch.tensor([1, 1]))
    np.testing.assert_allclose(means[1].exp(), [5 / 8, 3 / 8])
    assert means[0].tolist() == [0, 0]  # a class without images keeps its row
    first = 3 / 4 * np.log(6 / 5) + 1 / 4 * np.log(2 / 3)
    second = 1 / 2 * np.log(4 / 5) + 1 / 2 * np.log(4 / 3)
    found = divergence(logits, means[[1, 1]]).item()
    assert found == pytest.approx((first + second) / 2, rel=1e-12)


def test_it_is_the_mutual_information_of_the_class_s_images_and_predictions():
    """H(mean prediction) minus the mean H(prediction), averaged over all images."""
    _, _, logits, labels = drawn()
    p, means = softmax(logits), means_by_hand(logits, labels)
    expected = (p * np.log(p)).sum(axis=1).mean()
    expected -= (means[labels] * np.log(means[labels])).sum(axis=1).mean()
    rows = log_means_of(logits, labels)[torch.tensor(labels)]
    assert divergence(torch.tensor(logits), rows).item() == pytest.approx(expected, rel=1e-10)


def test_the_term_is_minus_the_divergence_with_a_weight_that_rises_linearly():
    logits, labels, train, train_labels = drawn()
    term = started(weight=0.25)
    assert losses(term, logits, labels, 0) == {}
    term.take_train_logits(torch.tensor(train), torch.tensor(train_labels))
    expected = divergence_by_hand(logits, means_by_hand(train, train_labels)[labels])
    for epoch in (1, 5, EPOCHS - 1):
        found = losses(term, logits, labels, epoch)
        assert [*found] == ["mcmi"] and found["mcmi"].shape == ()
        share = 0.25 * epoch / EPOCHS
        assert found["mcmi"].item() == pytest.approx(-share * expected, rel=1e-6)  # of float32


def test_where_a_trained_network_is_fine_tuned_the_weight_is_constant_from_the_first_epoch_on():
    logits, labels, train, train_labels = drawn()
    term = started(weight=0.25, fine_tunes=True)
    term.take_train_logits(torch.tensor(train), torch.tensor(train_labels))
    expected = divergence_by_hand(logits, means_by_hand(train, train_labels)[labels])
    for epoch in (0, 1, EPOCHS - 1):
        [loss] = losses(term, logits, labels, epoch).values()
        assert loss.item() == pytest.approx(-0.25 * expected, rel=1e-6)  # of float32


def test_only_the_first_view_of_an_image_counts():
    logits, labels, train, train_labels = drawn()
    term = started()
    term.take_train_logits(torch.tensor(train), torch.tensor(train_labels))
    views = np.concatenate([logits, np.full((2 * B, K), 7.0)])
    found, expected = (losses(term, each, labels, 3)["mcmi"].item() for each in (views, logits))
    assert found == expected


def test_the_saved_state_is_what_the_losses_need():
    logits, labels, train, train_labels = drawn()
    term, other = started(), started()
    term.take_train_logits(torch.tensor(train), torch.tensor(train_labels))
    expected = losses(term, logits, labels, 2)["mcmi"].item()
    assert losses(other, logits, labels, 2)["mcmi"].item() != expected
    for name, value in other.buffers().items():
        value.copy_(term.buffers()[name])
    assert losses(other, logits, labels, 2)["mcmi"].item() == expected


def test_predictions_that_float32_rounds_to_zero_have_finite_losses_and_gradients():
    term = started()
    sure = torch.full((N, K), -2000.0)
    labels = torch.arange(N) % K
    sure[torch.arange(N), labels] = 2000.0
    term.take_train_logits(sure, labels)
    wrong = sure.roll(1, dims=1).requires_grad_()
    [loss] = losses(term, wrong, labels, 1).values()
    loss.backward()
    assert loss.item() == pytest.approx(-0.1 / EPOCHS * 4000) and wrong.grad.isfinite().all()


@pytest.mark.parametrize(("weight", "gains"), [(0.1, False), (0.16, False), (0.17, True)])
def test_below_1_over_ln_n_no_image_gains_by_a_larger_probability_of_a_wrong_class(weight, gains):
    """The slope of the loss as probability moves from the label to a wrong class, at the means."""
    n, random, least = 500, np.random.default_rng(0), np.inf
    labels = torch.zeros(n, dtype=torch.int64)
    for scale in (0.5, 3.0, 20.0):
        drawn = scale * (random.standard_normal((n, 10)) + 5 * np.eye(10)[0])
        drawn[0] = [60, 50, *[0] * 8]  # only this image has a probability of class 1
        drawn[1:, 1] = -300
        logits = torch.tensor(drawn, requires_grad=True)
        log_means = torch.zeros(10, 10, dtype=torch.float64)
        update_log_means(log_means, logits.detach(), labels)
        loss = cross_entropy(logits, labels) - weight * divergence(logits, log_means[labels])
        [gradient] = torch.autograd.grad(n * loss, logits)
        by_probability = gradient / logits.detach().softmax(
            dim=1
        )  # up to a constant for each image
        slopes = by_probability[:, 1:] - by_probability[:, :1]
        least = min(least, slopes.min().item())
    assert (least < 0) is gains
    assert MCMI().weight < 1 / np.log(n)
