"""NLL, ECE, temperature scaling, agreement, predictive KL and distance to the true distribution.

Oracles: torch's cross-entropy, plain loops over the definitions, scipy's softmax, entropy and root
finder, a grid search, and numbers worked out by hand.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special
from scipy.optimize import brentq
from scipy.stats import entropy

from soteacher.measures import calibration, fidelity
from soteacher.measures import distance as truth
from soteacher.measures.softmax import probabilities


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(scale=3, size=(400, 7)).astype(np.float32)


@pytest.fixture
def labels(logits) -> np.ndarray:
    """Labels drawn at temperature 2.5: the logits, as they are, are too sure of themselves."""
    random = np.random.default_rng(1)
    return np.array([random.choice(7, p=p) for p in softmax(logits / 2.5)])


def softmax(logits) -> np.ndarray:
    return torch.tensor(logits, dtype=torch.float64).softmax(dim=1).numpy()


def by_probabilities(*rows: list[float]) -> np.ndarray:
    return np.log(np.array(rows))


def nll(logits: np.ndarray, labels: np.ndarray) -> float:
    return calibration.nll(probabilities(logits)[1], labels)


def ece(logits: np.ndarray, labels: np.ndarray, n_bins: int = 15) -> float:
    return calibration.ece(calibration.reliability(probabilities(logits)[0], labels, n_bins))


def test_nll_is_torchs_cross_entropy(logits, labels):
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)
    )
    assert nll(logits, labels) == pytest.approx(expected.item(), rel=1e-12)


def test_ece_of_four_images_by_hand():
    """Bins of width 1/15: 1/3 is the upper end of the fifth, 0.36 and 0.39 lie in the sixth.

    Of three equal logits, 1/3 is what any CPU makes; of others, a border may be missed by rounding.
    """
    rows = ([1 / 3, 1 / 3, 1 / 3], [0.36, 0.33, 0.31], [0.3, 0.39, 0.31], [0.05, 0.9, 0.05])
    predicted = by_probabilities(*rows)
    labels = np.array([1, 0, 0, 1])  # of equal logits, the first is the prediction
    fifth = 1 * abs(1 / 3 - 0)
    sixth = 2 * abs((0.36 + 0.39) / 2 - 1 / 2)
    fourteenth = 1 * abs(0.9 - 1)
    expected = (fifth + sixth + fourteenth) / 4
    assert ece(predicted, labels) == pytest.approx(expected, abs=1e-12)


def test_a_confidence_on_the_border_of_two_bins_counts_to_the_lower_one():
    table = calibration.reliability(np.array([[0.5, 0.5]]), np.array([0]), n_bins=2)
    assert table.tolist() == [[1, 0.5, 1.0], [0, 0, 0]]


def test_certainty_counts_to_the_highest_bin():
    certain, _ = probabilities(np.array([[1000.0, 0.0]]))
    table = calibration.reliability(certain, np.array([1]))
    assert table[-1].tolist() == [1, 1.0, 0.0]
    assert table[:-1].sum() == 0


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_ece_is_the_loop_over_its_definition(logits, labels, n_bins):
    predicted = softmax(logits)
    confidence, found = predicted.max(axis=1), predicted.argmax(axis=1)
    expected = 0.0
    for b in range(n_bins):
        inside = (confidence > b / n_bins) & (confidence <= (b + 1) / n_bins)
        if inside.any():
            accuracy = (found[inside] == labels[inside]).mean()
            expected += inside.mean() * abs(confidence[inside].mean() - accuracy)
    assert ece(logits, labels, n_bins) == pytest.approx(expected, abs=1e-12)


def test_the_best_temperature_is_that_of_a_fine_grid(logits, labels):
    grid = np.exp(np.linspace(np.log(0.5), np.log(10), 4001))
    losses = [nll(logits / t, labels) for t in grid]
    found = calibration.best_temperature(logits, labels)
    assert found == pytest.approx(grid[np.argmin(losses)], rel=1e-3)
    assert nll(logits / np.float64(found), labels) <= min(losses)
    assert found == pytest.approx(2.5, abs=0.5)  # where the labels were drawn


def slope(logits, labels, b):
    """The derivative of the NLL of softmax(b * logits) by b, image by image."""
    return np.mean(
        [(softmax(b * z[None])[0] * z).sum() - z[y] for z, y in zip(logits, labels, strict=True)]
    )


@pytest.mark.parametrize("drawn_at", [0.3, 1.0, 6.0])
@pytest.mark.parametrize("scale", [0.05, 1.0, 300.0])
@pytest.mark.parametrize("n_classes", [2, 30])
def test_the_best_temperature_is_the_root_of_the_derivative(n_classes, scale, drawn_at):
    random = np.random.default_rng(n_classes)
    logits = random.normal(size=(60, n_classes)) * scale
    labels = np.array([random.choice(n_classes, p=p) for p in softmax(logits / (scale * drawn_at))])
    bounds = [1 / t for t in reversed(calibration.TEMPERATURES)]
    slopes = [slope(logits, labels, b) for b in bounds]
    if slopes[0] >= 0:
        expected = calibration.TEMPERATURES[1]
    elif slopes[1] <= 0:
        expected = calibration.TEMPERATURES[0]
    else:
        root = brentq(lambda b: slope(logits, labels, b), *bounds, xtol=1e-15, rtol=1e-14)
        expected = 1 / root
    assert calibration.best_temperature(logits, labels) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("scale", [1e-3, 5, 5000])
def test_the_best_temperature_is_exactly_a_bound_if_the_nll_decreases_up_to_there(scale):
    coldest, hottest = calibration.TEMPERATURES
    logits = np.eye(3) * scale
    assert calibration.best_temperature(logits, np.array([0, 1, 2])) == coldest
    assert calibration.best_temperature(logits, np.array([1, 2, 0])) == hottest


def test_the_best_temperature_is_one_if_the_nll_is_the_same_for_all():
    assert calibration.best_temperature(np.full((4, 3), 7.0), np.zeros(4, int)) == 1


def test_one_confident_mistake_among_certain_images_still_has_a_finite_best_temperature():
    """At T = 1 the derivative has no curvature in float64, so Newton's method alone would fail."""
    logits, labels = np.eye(4)[[0, 1, 2, 3]] * 4000.0, np.array([0, 1, 2, 0])
    found = calibration.best_temperature(logits, labels)
    assert found == calibration.TEMPERATURES[1]
    found = calibration.best_temperature(logits / 400, labels)
    b = brentq(lambda b: slope(logits / 400, labels, b), 0.05, 20, xtol=1e-15, rtol=1e-14)
    assert found == pytest.approx(1 / b, rel=1e-10)


def test_the_search_passes_over_the_logits_few_times(logits, labels, monkeypatch):
    passes, derivatives = [], calibration._Likelihood.derivatives
    monkeypatch.setattr(
        calibration._Likelihood,
        "derivatives",
        lambda likelihood, b: passes.append(b) or derivatives(likelihood, b),
    )
    found = calibration.best_temperature(logits, labels)
    assert len(passes) <= 7
    passes.clear()
    again = calibration.best_temperature(logits, labels, start=1.05 * found)
    assert len(passes) <= 4
    assert again == pytest.approx(found, rel=1e-10)


@pytest.mark.parametrize("start", calibration.TEMPERATURES)
def test_the_search_may_begin_at_a_bound(logits, labels, start):
    expected = calibration.best_temperature(logits, labels)
    found = calibration.best_temperature(logits, labels, start=start)
    assert found == pytest.approx(expected, rel=1e-10)
    certain = np.eye(3) * 5
    assert calibration.best_temperature(certain, np.array([0, 1, 2]), start=start) == 0.05
    assert calibration.best_temperature(certain, np.array([1, 2, 0]), start=start) == 20


def test_softmax_and_its_logarithm_are_scipys_bit_for_bit(logits):
    logits[:3, 0] = [1e30, -1e30, 88]
    exact = logits.astype(np.float64)
    predicted, logs = probabilities(logits)
    assert np.array_equal(predicted, special.softmax(exact, axis=1))
    assert np.array_equal(logs, special.log_softmax(exact, axis=1))


def test_logits_times_three_have_three_times_the_temperature(logits, labels):
    once = calibration.best_temperature(logits, labels)
    assert calibration.best_temperature(3 * logits, labels) == pytest.approx(3 * once, rel=1e-5)


def test_halves_are_disjoint_stratified_and_the_same_each_time():
    labels = np.repeat(np.arange(5), [10, 11, 7, 1, 3])
    second = calibration.halves(labels)
    assert np.array_equal(second, calibration.halves(labels))
    counts = np.bincount(labels[second], minlength=5), np.bincount(labels[~second], minlength=5)
    assert np.abs(counts[0] - counts[1]).max() <= 1
    assert abs(int(second.sum()) - int((~second).sum())) <= 1


def test_each_image_is_scaled_with_the_temperature_of_the_other_half(logits, labels):
    second = calibration.halves(labels)
    scaled, (of_first, of_second) = calibration.scale(logits, labels)
    assert of_first == calibration.best_temperature(logits[~second], labels[~second])
    assert of_second == calibration.best_temperature(logits[second], labels[second])
    assert of_first != of_second
    exact = logits.astype(np.float64)
    np.testing.assert_allclose(scaled[second], exact[second] / of_first)
    np.testing.assert_allclose(scaled[~second], exact[~second] / of_second)


def test_scaling_mends_overconfidence_and_changes_no_prediction(logits, labels):
    scaled, temperatures = calibration.scale(logits, labels)
    assert min(temperatures) > 1
    assert ece(scaled, labels) < ece(logits, labels)
    assert nll(scaled, labels) < nll(logits, labels)
    assert np.array_equal(scaled.argmax(axis=1), logits.argmax(axis=1))


def test_agreement_by_hand():
    teacher = np.array([[2, 1, 0], [0, 1, 2], [0, 3, 2], [1, 0, 0]])
    student = np.array([[9, 1, 0], [0, 2, 1], [0, 3, 2], [0, 0, 1]])
    assert fidelity.agreement(teacher, student) == 0.5


def test_predictive_kl_is_scipys_entropy_of_teacher_to_student(logits):
    student = logits[::-1] * 0.5
    expected = np.mean(
        [entropy(p, q) for p, q in zip(softmax(logits), softmax(student), strict=True)]
    )
    of_teacher, of_student = (probabilities(given)[1] for given in (logits, student))
    assert fidelity.predictive_kl(of_teacher, of_student) == pytest.approx(expected, rel=1e-10)
    assert fidelity.predictive_kl(of_teacher, of_teacher) == 0


def test_distance_to_the_true_distribution_by_hand():
    predicted = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    known = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    assert truth.distance(predicted, known) == pytest.approx(np.sqrt(0.04 + 0.01 + 0.01) / 2)
    assert truth.distance(predicted, known, order=1) == pytest.approx(0.4 / 2)
