"""The correctness ranking loss against hand-worked numbers and the released code's steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.models.output import Output
from soteacher.penalties.crl import ranking_loss
from soteacher.regularizers.crl import CRL
from soteacher.terms import RunContext

N, K, BATCH, EPOCHS = 11, 3, 4, 5


def started(**settings):
    term = CRL(**settings)
    term.start(RunContext(N, K, EPOCHS, "cpu", None, None, 0, "teacher", None))
    return term


def steps():
    """(epoch, indices, labels, logits) of a whole training, with a short batch at the end."""
    numbers = np.random.default_rng(0)
    labels = numbers.integers(0, K, N)
    for epoch in range(EPOCHS):
        order = numbers.permutation(N)
        for start in range(0, N, BATCH):
            indices = order[start : start + BATCH]
            yield epoch, indices, labels[indices], numbers.normal(0, 1.5, (len(indices), K))


def take(term, epoch, indices, labels, logits):
    logits = torch.tensor(logits, requires_grad=True)
    at = Cursor(Stage.MAIN, epoch, 0)
    batch = Batch(torch.zeros(1), torch.tensor(labels), torch.tensor(indices), at)
    return term.losses(batch, Output(logits, {}), None, None), logits


class Released:
    """crl_utils.History and train.py of the released code, in NumPy."""

    def __init__(self):
        self.correctness, self.max_correctness = np.zeros(N), 1

    def loss(self, indices, labels, logits):
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        confidence = shares.max(axis=1)
        total = 0.0
        for i in range(len(indices)):
            j = (i + 1) % len(indices)
            least = self.correctness.min()
            scaled = [
                (self.correctness[indices[k]] - least) / (self.max_correctness - least)
                for k in (i, j)
            ]
            target, margin = np.sign(scaled[0] - scaled[1]), abs(scaled[0] - scaled[1])
            second = confidence[j] + margin / (target or 1)
            total += max(0.0, -target * (confidence[i] - second))
        for k, index in enumerate(indices):
            self.correctness[index] += logits[k].argmax() == labels[k]
        return total / len(indices)

    def end_epoch(self, epoch):
        if epoch >= 1:  # from the second epoch on
            self.max_correctness += 1


def test_a_whole_training_has_the_losses_of_the_released_code():
    term, released, before = started(weight=2.0), Released(), 0
    seen = []
    for epoch, indices, labels, logits in steps():
        if epoch > before:
            released.end_epoch(before)
            before = epoch
        expected = released.loss(indices, labels, logits)
        losses, _ = take(term, epoch, indices, labels, logits)
        if epoch == 0:
            assert losses == {} and expected == 0
        else:
            assert losses["crl"].item() == pytest.approx(2 * expected, rel=1e-6, abs=1e-9)
            seen.append(expected)
        np.testing.assert_array_equal(term.buffers()["correct"].numpy(), released.correctness)
    assert min(seen) < 0.1 < max(seen)


# p = (0.9, 0.6, 0.7), c = (1, 0.5, 0.5): pairs (0, 1), (1, 2), (2, 0).
#   (0, 1): max(0, -(0.9 - 0.6) + 0.5) = 0.2;   (1, 2): a tie, 0
#   (2, 0): max(0, +(0.7 - 0.9) + 0.5) = 0.3
def test_three_images_by_hand():
    confidence = torch.tensor([0.9, 0.6, 0.7], dtype=torch.float64, requires_grad=True)
    loss = ranking_loss(confidence, torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64))
    assert loss.item() == pytest.approx(0.5 / 3)
    loss.backward()  # both of a pair: the first is to rise, the others to fall
    np.testing.assert_allclose(confidence.grad, [-2 / 3, 1 / 3, 1 / 3])


def test_a_tie_costs_nothing_where_the_paper_s_equation_would_charge_it():
    confidence = torch.tensor([0.9, 0.2, 0.5], requires_grad=True)
    loss = ranking_loss(confidence, torch.full((3,), 0.5))
    loss.backward()
    assert loss.item() == 0 and not confidence.grad.any()


def test_confidences_in_order_and_far_enough_apart_cost_nothing():
    correctness = torch.tensor([0.0, 0.25, 0.5, 1.0])
    assert ranking_loss(correctness.clone(), correctness).item() == pytest.approx(0)


def test_who_was_always_right_is_alike_and_divides_nothing_by_nothing():
    term = started()
    for epoch in range(3):
        logits = np.full((N, K), -1.0)
        logits[:, 0] = np.linspace(1, 3, N)
        losses, leaf = take(term, epoch, np.arange(N), np.zeros(N, dtype=int), logits)
        if epoch:
            losses["crl"].backward()
            assert losses["crl"].item() == 0 and not leaf.grad.any()


def test_a_batch_of_one_image_has_no_pair():
    assert ranking_loss(torch.tensor([0.3]), torch.tensor([0.7])).item() == 0


def test_the_gradient_is_that_of_central_differences():
    def loss_at(logits):
        term = started()
        term.buffers()["correct"].copy_(torch.arange(N) % 4)
        return take(term, 3, np.arange(6), np.zeros(6, dtype=int), logits)

    logits = np.random.default_rng(5).normal(size=(6, K))
    losses, leaf = loss_at(logits)
    losses["crl"].backward()
    assert leaf.grad.any()
    for at in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[at] = 1e-6
        up, down = (loss_at(logits + sign * step)[0]["crl"].item() for sign in (1, -1))
        assert leaf.grad[at].item() == pytest.approx((up - down) / 2e-6, abs=1e-6)


def test_a_fresh_term_with_the_saved_history_goes_on_identically():
    every = [*steps()]
    whole = started()
    for step in every[:7]:
        take(whole, *step)
    fresh = started()
    for name, value in fresh.buffers().items():
        value.copy_(whole.buffers()[name])
    for step in every[7:]:
        assert take(whole, *step)[0]["crl"].equal(take(fresh, *step)[0]["crl"])
