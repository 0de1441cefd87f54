"""The ECE of perfectly calibrated networks: exact, against enumeration, convolution and drawing."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from soteacher.measures import calibration
from soteacher.measures.calibrated_null import ece_null


def predicted(confidences):
    """Predictions of three classes with these largest probabilities, which are above a half."""
    c = np.asarray(confidences, dtype=np.float64)
    return np.stack([(1 - c) / 2, c, (1 - c) / 2], axis=1)


def enumerated(probabilities):
    """The mean ECE over all ways in which images can be right or wrong, with their chances."""
    confidence, found = probabilities.max(axis=1), probabilities.argmax(axis=1)
    total = 0.0
    for right in itertools.product((0, 1), repeat=len(confidence)):
        chance = math.prod(c if r else 1 - c for c, r in zip(confidence, right, strict=True))
        other = (found + 1) % probabilities.shape[1]
        labels = np.where(right, found, other)
        total += chance * calibration.ece(calibration.reliability(probabilities, labels))
    return total


def convolved(chances):
    """E|S - E[S]|, event by event, in the widest float of the machine."""
    distribution = np.ones(1, dtype=np.longdouble)
    for p in np.asarray(chances, dtype=np.longdouble):
        distribution = np.append(distribution * (1 - p), 0) + np.append(0, distribution * p)
    mean = np.asarray(chances, dtype=np.longdouble).sum()
    return float(distribution @ np.abs(np.arange(len(distribution)) - mean))


def test_one_image_by_hand():
    """It is right with chance 0.8, with an error of 0.2, and wrong with 0.2 and an error of 0.8."""
    assert ece_null(predicted([0.8])) == pytest.approx(2 * 0.8 * 0.2)


def test_two_images_of_one_bin_by_hand():
    """Both wrong: |2 - 0.4| with chance 0.04; one: |1 - 0.4| with 0.32; none: 0.4 with 0.64."""
    by_hand = (0.04 * 1.6 + 0.32 * 0.6 + 0.64 * 0.4) / 2
    assert ece_null(predicted([0.8, 0.8])) == pytest.approx(by_hand)


@pytest.mark.parametrize("images", [1, 2, 3, 7, 10])
def test_it_is_the_mean_over_all_outcomes(images):
    random = np.random.default_rng(images)
    probabilities = softmax(random.normal(size=(images, 3)) * 2, axis=1)
    assert ece_null(probabilities) == pytest.approx(enumerated(probabilities), rel=1e-12)


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.0), (0.94, 1.0), (0.999999, 1.0), (0.51, 0.52)])
def test_a_bin_is_the_sum_of_its_images_one_by_one(low, high):
    confidences = np.random.default_rng(3).uniform(low, high, size=1500)
    found = ece_null(predicted(confidences), n_bins=1) * len(confidences)
    assert found == pytest.approx(convolved(1 - confidences), rel=1e-11)


@pytest.mark.parametrize("n", [50, 450, 10_000])
def test_equal_confidences_have_the_mean_deviation_of_the_binomial_distribution(n):
    """De Moivre: E|S - np| = 2 v (1 - p) P(S = v), with v the first whole number above np."""
    p, v = 0.3, math.floor(n * 0.3) + 1
    by_formula = 2 * v * (1 - p) * stats.binom.pmf(v, n, p)
    assert ece_null(predicted(np.full(n, 1 - p))) == pytest.approx(by_formula / n, rel=1e-10)


def test_a_network_that_is_calibrated_has_an_ece_near_it():
    """Labels are drawn from the predictions: the mean of 400 ECEs has a standard error."""
    random = np.random.default_rng(0)
    probabilities = softmax(random.normal(size=(450, 10)) * 2, axis=1)
    cumulative = probabilities.cumsum(axis=1)
    draws = []
    for _ in range(400):
        labels = (cumulative <= random.random((450, 1))).sum(axis=1).clip(max=9)
        draws.append(calibration.ece(calibration.reliability(probabilities, labels)))
    error = np.std(draws, ddof=1) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - ece_null(probabilities)) < 4 * error
    assert 0.03 < ece_null(probabilities) < 0.07  # on 450 images an ECE of 0.05 is nothing


def test_an_overconfident_network_has_an_ece_above_it():
    random = np.random.default_rng(1)
    logits = random.normal(size=(2000, 10)) * 2
    labels = np.array([random.choice(10, p=p) for p in softmax(logits, axis=1)])
    sharp = softmax(logits * 3, axis=1)
    assert calibration.ece(calibration.reliability(sharp, labels)) > 5 * ece_null(sharp)


def test_it_falls_with_the_root_of_the_number_of_images():
    few, many = (ece_null(predicted(np.full(n, 0.8))) for n in (400, 40_000))
    assert few / many == pytest.approx(10, rel=0.01)


def test_certain_predictions_have_none():
    assert ece_null(np.eye(4)[[0, 1, 2, 3, 3]]) == 0


def test_sums_that_round_above_one_are_certain():
    assert ece_null(np.array([[1 + 1e-12, 0.0], [0.0, 1 + 1e-12]])) == 0
