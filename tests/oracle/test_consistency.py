"""The consistency regularizer against hand-worked numbers, and plain loops over the definition."""

import math

import numpy as np
import pytest
import torch

from soteacher.core.batch import Batch
from soteacher.core.cursor import Cursor, Stage
from soteacher.models.output import Output
from soteacher.penalties.consistency import ramped
from soteacher.regularizers.consistency import Consistency
from soteacher.terms import RunContext

MODES = ("official", "paper")

# Logits of an epoch, an image a row: as a network would give them, other ones in each epoch.
LOGITS = np.array(
    [
        [[0.3, -1.2, 0.8], [2.0, 0.1, -0.4], [-0.7, 0.5, 1.1]],
        [[1.4, -0.2, 0.1], [0.6, 1.9, -1.3], [-0.1, -0.9, 2.2]],
        [[-0.8, 0.4, 0.9], [1.7, -0.6, 0.2], [0.5, 1.2, -1.0]],
        [[0.0, 1.3, -0.5], [2.4, -1.1, 0.7], [-1.6, 0.3, 0.6]],
    ]
)
ORDERS = ([2, 0, 1], [1, 2, 0], [0, 2, 1], [1, 0, 2])  # of the images, an epoch a row
BATCHES = (slice(0, 2), slice(2, 4))  # two images, and the one that is left
STEPS = [(epoch, step) for epoch in range(len(ORDERS)) for step in range(len(BATCHES))]


def started(n_images=3, n_classes=3, epochs=4, **settings):
    term = Consistency(**settings)
    term.start(RunContext(n_images, n_classes, epochs, "cpu", None, None, 0, "teacher", None))
    return term


def losses_of(term, epoch, step, indices, logits):
    n = len(indices)
    at = Cursor(Stage.MAIN, epoch, step)
    batch = Batch(torch.zeros(n, 3, 4, 4), torch.zeros(n, dtype=torch.int64), indices, at)
    return term.losses(batch, Output(logits, {}), None, torch.nn.Identity())


def take(term, epoch, step):
    """One step of the sequence above: the losses, and the logits that they are of."""
    indices = torch.tensor(ORDERS[epoch][BATCHES[step]])
    logits = torch.tensor(LOGITS[epoch], dtype=torch.float32)[indices].requires_grad_()
    return losses_of(term, epoch, step, indices, logits), logits


def softmax(logits):
    shares = np.exp(logits)
    return shares / shares.sum(axis=-1, keepdims=True)


def mean_before(mode, image, epoch):
    """Mean prediction for an image before a 0-based epoch, from its whole past."""
    past = [softmax(LOGITS[earlier][image]) for earlier in range(epoch)]
    if mode == "official":
        past.append(past[0])  # the first prediction counts twice
    return sum(past) / len(past)


def plain_loss(mode, epoch, step):
    """The linear ramp's weight times the batch's mean squared distance, image by image."""
    total, images = 0.0, ORDERS[epoch][BATCHES[step]]
    for image in images:
        mean = mean_before(mode, image, epoch)
        for now, before in zip(softmax(LOGITS[epoch][image]), mean, strict=True):
            total += (now - before) ** 2
    ramp = (epoch + 1) / 4 if mode == "official" else epoch / 4
    return ramp * total / len(images)


# One image, two classes; p_1 = (1/2, 1/2), p_2 = (3/4, 1/4), p_3 = (1/4, 3/4); T = 3.
# Epoch 2: the mean is p_1 in both modes, |p_2 - p_1|^2 = 2 (1/4)^2 = 1/8.
#   official: 2/3 * 1/8 = 1/12        paper: 1/3 * 1/8 = 1/24
# Epoch 3, official: mean (2 p_1 + p_2) / 3 = (7/12, 5/12), 2 (1/3)^2 = 2/9, times 3/3.
#   paper: mean (p_1 + p_2) / 2 = (5/8, 3/8), 2 (3/8)^2 = 9/32, times 2/3.
@pytest.mark.parametrize(
    ("mode", "second", "third"), [("official", 1 / 12, 2 / 9), ("paper", 1 / 24, 3 / 16)]
)
def test_three_epochs_of_one_image_give_the_hand_worked_losses(mode, second, third):
    term = started(n_images=1, n_classes=2, epochs=3, mode=mode)
    found = []
    for epoch, logits in enumerate([[0.0, 0.0], [math.log(3), 0.0], [0.0, math.log(3)]]):
        losses = losses_of(term, epoch, 0, torch.tensor([0]), torch.tensor([logits]))
        found.append({name: loss.item() for name, loss in losses.items()})
    assert found[0] == {}
    assert found[1] == {"consistency": pytest.approx(second, rel=1e-6)}
    assert found[2] == {"consistency": pytest.approx(third, rel=1e-6)}


@pytest.mark.parametrize("mode", MODES)
def test_the_memory_follows_each_image_through_other_orders_and_a_short_batch(mode):
    term = started(mode=mode)
    for epoch, step in STEPS:
        losses, _ = take(term, epoch, step)
        if epoch == 0:
            assert losses == {}
        else:
            expected = plain_loss(mode, epoch, step)
            assert losses["consistency"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_mean_of_the_predictions_is_that_of_the_definition_after_every_epoch(mode):
    term = started(mode=mode)
    for epoch, step in STEPS:
        take(term, epoch, step)
        if step + 1 == len(BATCHES):
            expected = [mean_before(mode, image, epoch + 1) for image in range(3)]
            np.testing.assert_allclose(term.buffers()["mean"].numpy(), expected, rtol=1e-5)


def test_official_mean_counts_the_first_prediction_twice_and_the_papers_once():
    first, second, third = (softmax(LOGITS[epoch][0]) for epoch in range(3))
    for mode, expected in (
        ("official", (2 * first + second + third) / 4),
        ("paper", (first + second + third) / 3),
    ):
        term = started(mode=mode)
        for epoch, step in STEPS[:6]:
            take(term, epoch, step)
        np.testing.assert_allclose(term.buffers()["mean"][0].numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_gradient_flows_through_the_present_prediction_only(mode):
    term = started(mode=mode, weight=3.0)
    seen = []
    for epoch, step in STEPS:
        losses, logits = take(term, epoch, step)
        seen.append(logits)
        if epoch == 0:
            continue
        losses["consistency"].backward()
        indices = ORDERS[epoch][BATCHES[step]]
        constant = torch.tensor(np.array([mean_before(mode, image, epoch) for image in indices]))
        alone = torch.tensor(LOGITS[epoch][indices], requires_grad=True)
        ramp = (epoch + 1) / 4 if mode == "official" else epoch / 4
        distance = ((alone.softmax(dim=1) - constant) ** 2).sum() / len(indices)
        (3.0 * ramp * distance).backward()
        np.testing.assert_allclose(logits.grad, alone.grad, rtol=1e-4, atol=1e-7)
        assert all(earlier.grad is None for earlier in seen[: len(BATCHES)])
    assert not term.buffers()["mean"].requires_grad


def test_the_weight_multiplies_the_loss():
    plain, weighted = started(), started(weight=2.5)
    for epoch, step in STEPS:
        one, _ = take(plain, epoch, step)
        other, _ = take(weighted, epoch, step)
        assert [*one] == [*other]
        for name, loss in one.items():
            assert other[name].item() == pytest.approx(2.5 * loss.item(), rel=1e-6)


# Appendix D.1 at 1-based epochs t of T, typed by hand.
RAMPS = {
    "linear": [(2, 10, 0.2), (5, 10, 0.5), (9, 10, 0.9), (10, 10, 1.0)],
    # cos 72, 60, 45, 30 and 0 degrees
    "cosine": [
        (2, 10, 0.309017),
        (4, 12, 0.5),
        (6, 12, 0.707107),
        (8, 12, 0.866025),
        (12, 12, 1.0),
    ],
    # sqrt(1 - 0.8^2), sqrt(1 - 0.6^2), sqrt(1 - 0.5^2), sqrt(1 - 0.4^2) and sqrt(1)
    "cyclic": [
        (2, 10, 0.6),
        (4, 10, 0.8),
        (5, 10, 0.866025),
        (6, 10, 0.916515),
        (10, 10, 1.0),
    ],
    # both ends of every third; the boundaries belong to the third that they end
    "piecewise": [
        (2, 240, 0.0),
        (80, 240, 0.0),
        (81, 240, 0.5),
        (160, 240, 0.5),
        (161, 240, 1.0),
        (240, 240, 1.0),
        (2, 6, 0.0),
        (3, 6, 0.5),
        (4, 6, 0.5),
        (5, 6, 1.0),
        (3, 10, 0.0),
        (4, 10, 0.5),
        (6, 10, 0.5),
        (7, 10, 1.0),
    ],
}
POINTS = [(name, *point) for name, points in RAMPS.items() for point in points]


@pytest.mark.parametrize(("ramp", "t", "epochs", "expected"), POINTS)
def test_ramps_have_the_values_of_the_appendix(ramp, t, epochs, expected):
    assert ramped(t - 1, epochs, ramp, "official") == pytest.approx(expected, rel=1e-5)
    one_later = ramped(t, epochs, ramp, "paper")
    assert one_later == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ramp", RAMPS)
def test_ramps_give_the_first_epoch_no_weight_and_never_fall(ramp, mode):
    weights = [ramped(epoch, 30, ramp, mode) for epoch in range(30)]
    assert weights[0] == 0.0
    assert weights == sorted(weights)


@pytest.mark.parametrize("ramp", RAMPS)
def test_official_ramps_reach_the_whole_weight_in_the_last_epoch(ramp):
    assert ramped(29, 30, ramp) == pytest.approx(1.0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("done", [1, 2, 3, 5])
def test_a_fresh_term_with_the_saved_buffers_goes_on_identically(mode, done):
    whole = started(mode=mode, ramp="cosine")
    for epoch, step in STEPS[:done]:
        take(whole, epoch, step)
    saved = {name: value.clone() for name, value in whole.buffers().items()}
    fresh = started(mode=mode, ramp="cosine")
    for name, value in fresh.buffers().items():
        value.copy_(saved.pop(name))
    assert saved == {}
    for epoch, step in STEPS[done:]:
        one, _ = take(whole, epoch, step)
        other, _ = take(fresh, epoch, step)
        assert {name: loss.item() for name, loss in one.items()} == {
            name: loss.item() for name, loss in other.items()
        }
    assert torch.equal(whole.buffers()["mean"], fresh.buffers()["mean"])
