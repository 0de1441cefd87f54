"""The squared error of teachers against plain loops: value, gradient, and what trains with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.models.output import Output
from soteacher.regularizers.mse import MSE, squared_error

B, K = 5, 4


def drawn(seed=0):
    random = np.random.default_rng(seed)
    labels = torch.tensor(random.integers(0, K, B))
    images = torch.zeros(B, 3, 2, 2, dtype=torch.float64)
    batch = Batch(images, labels, torch.arange(B), Cursor(Stage.MAIN, 0, 0))
    return 2 * random.standard_normal((B, K)), batch


def loss_of(logits, batch):
    [(name, loss)] = MSE().losses(batch, Output(logits, {}), None, None).items()
    assert name == "mse" and loss.shape == ()
    return loss


def by_hand(logits, targets):
    """Image by image and class by class."""
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        weights = [np.exp(z - max(row)) for z in row]
        for weight, wanted in zip(weights, target, strict=True):
            total += (weight / sum(weights) - wanted) ** 2
    return total / len(logits)


def test_it_is_the_squared_distance_to_the_label():
    logits, batch = drawn()
    expected = by_hand(logits, np.eye(K)[batch.labels.numpy()])
    assert loss_of(torch.tensor(logits), batch).item() == pytest.approx(expected, rel=1e-12)


def test_it_is_the_squared_distance_to_a_soft_target():
    logits, batch = drawn()
    targets = np.random.default_rng(1).dirichlet(np.ones(K), B)
    batch = replace(batch, targets=torch.tensor(targets))
    found = loss_of(torch.tensor(logits), batch).item()
    assert found == pytest.approx(by_hand(logits, targets), rel=1e-12)


def test_two_classes_by_hand():
    # softmax (ln 3, 0) = (3/4, 1/4): label 0 gives 2 * (1/4)^2, label 1 gives 2 * (3/4)^2
    logits = torch.tensor([[np.log(3.0), 0.0], [np.log(3.0), 0.0]])
    found = squared_error(logits, torch.eye(2, dtype=torch.float64))
    assert found.item() == pytest.approx((2 / 16 + 18 / 16) / 2)


def test_the_gradient_is_that_of_central_differences():
    logits, batch = drawn()
    at = torch.tensor(logits, requires_grad=True)
    loss_of(at, batch).backward()
    targets, expected = np.eye(K)[batch.labels.numpy()], np.zeros((B, K))
    for place in np.ndindex(B, K):
        shift = np.zeros((B, K))
        shift[place] = 1e-6
        expected[place] = by_hand(logits + shift, targets) - by_hand(logits - shift, targets)
    np.testing.assert_allclose(at.grad, expected / 2e-6, rtol=1e-6, atol=1e-10)


def test_it_is_least_at_the_target_and_bounded():
    target = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    logits = (target.log() + 3).requires_grad_()
    loss = squared_error(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-15)
    assert logits.grad.abs().max().item() == pytest.approx(0, abs=1e-12)
    wrong = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    loss = squared_error(wrong, torch.tensor([[0.0, 1.0, 0.0]]))
    loss.backward()
    assert loss.item() == 2 and wrong.grad.isfinite().all()  # -log p would be 1e4


def test_only_the_first_view_of_an_image_counts():
    logits, batch = drawn()
    first = torch.tensor(logits)
    views = torch.cat([first, torch.full((2 * B, K), 7.0, dtype=torch.float64)])
    assert loss_of(views, batch).item() == loss_of(first, batch).item()
