"""Tenths of disagreement and the spread of like images, against loops and definitions."""

import numpy as np
import pytest
from scipy import stats

from soteacher.measures import disagreement


def drawn_counts(n, k=4, people=7, seed=0):
    """p* of n images, each of the labels of a few people."""
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet(np.full(k, 0.4), size=n)
    return np.stack([draw.multinomial(people, share) for share in shares]) / people


@pytest.mark.parametrize("n", [10, 99, 100, 1003])
def test_tenths_hold_each_image_once_in_the_order_of_certainty_and_then_of_images(n):
    truth = drawn_counts(n)
    parts = disagreement.tenths(truth)
    expected = sorted(range(n), key=lambda i: (-max(truth[i]), i))
    assert np.concatenate(parts).tolist() == expected
    sizes = [len(part) for part in parts]
    assert len(sizes) == 10 and max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes)[::-1]


def test_rounding_of_probabilities_does_not_change_the_order_of_equal_images():
    truth = drawn_counts(200)
    noisy = truth * (1 + 1e-12 * np.random.default_rng(1).normal(size=(200, 1)))
    for part, other in zip(disagreement.tenths(truth), disagreement.tenths(noisy), strict=True):
        assert part.tolist() == other.tolist()


def test_entropy_is_scipys():
    truth = drawn_counts(50)
    assert disagreement.entropy(truth) == pytest.approx(stats.entropy(truth, axis=1))
    assert disagreement.entropy(np.eye(3)).tolist() == [0, 0, 0]


def test_images_are_alike_if_their_rounded_distributions_are_the_same():
    truth = np.array([[0.96, 0.04], [1.0, 0.0], [0.94, 0.06], [0.0, 1.0], [0.9, 0.1]])
    assert disagreement.like(truth).tolist() == [0, 0, 1, 2, 1]


def test_spread_is_that_of_a_loop_over_like_images():
    truth = drawn_counts(120)
    predicted = np.random.default_rng(2).dirichlet(np.ones(4), size=120)
    found = disagreement.spread_of_like(predicted, disagreement.like(truth))
    alone = 0
    for i in range(120):
        same = [j for j in range(120) if (truth[j].round(1) == truth[i].round(1)).all()]
        if len(same) == 1:
            alone += 1
            assert np.isnan(found[i])
            continue
        mean = sum(predicted[j] for j in same) / len(same)
        square = ((predicted[i] - mean) ** 2).sum()
        assert found[i] == pytest.approx(square * len(same) / (len(same) - 1))
    assert 0 < alone < 120


def test_the_mean_spread_of_independent_predictions_does_not_depend_on_the_number_of_like_images():
    """It is the variance of the predictions: that of a Dirichlet distribution, summed."""
    draw = np.random.default_rng(3)
    alpha = np.array([2.0, 1.0, 3.0])
    variance = stats.dirichlet.var(alpha).sum()
    for size in (2, 3, 50):
        groups = np.repeat(np.arange(60_000 // size), size)
        predicted = draw.dirichlet(alpha, size=len(groups))
        mean = disagreement.spread_of_like(predicted, groups).mean()
        assert mean == pytest.approx(variance, rel=0.02)
