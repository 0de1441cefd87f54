"""Measures of predictions against known distributions, by hand and against loops in float64."""

import numpy as np
import pytest
from scipy.special import rel_entr, softmax

from soteacher.measures import distance as truth
from soteacher.measures.softmax import probabilities

# two siblings with p* = (0.7, 0.3), and one image with p* = (0.4, 0.6)
KNOWN = np.array([[0.7, 0.3], [0.4, 0.6], [0.7, 0.3]])
PREDICTED = np.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]])


@pytest.fixture
def random():
    """A generator of random numbers."""
    return np.random.default_rng(5)


@pytest.fixture
def known(random):
    """True distributions of 60 images of 4 classes, of which 7 differ, with zeros in some."""
    rows = softmax(random.normal(size=(7, 4)), axis=1)
    rows[0], rows[1] = [1, 0, 0, 0], [0.5, 0.5, 0, 0]
    return rows[random.integers(7, size=60)]


def test_siblings_are_images_with_the_same_true_distribution():
    assert truth.siblings(KNOWN).tolist() == [0, 1, 0]
    assert truth.siblings(KNOWN[[0, 2, 1]].copy()).tolist() == [0, 0, 1]


def test_distributions_that_differ_in_the_last_bit_are_no_siblings():
    other = KNOWN[0] + [0, np.spacing(0.3)]
    assert truth.siblings(np.stack([KNOWN[0], other])).tolist() == [0, 1]


def test_siblings_do_not_depend_on_the_order_of_memory(known):
    groups = truth.siblings(known)
    assert np.array_equal(truth.siblings(np.asfortranarray(known)), groups)
    same = (known[:, None] == known[None]).all(axis=2)
    assert np.array_equal(groups[:, None] == groups[None], same)


def test_spread_and_bias_by_hand():
    """The siblings' mean is (0.8, 0.2): 0.1 from each, and from p*, in both classes."""
    found = truth.spread_and_bias(PREDICTED, KNOWN, truth.siblings(KNOWN))
    assert found == pytest.approx(((0.02 + 0.02) / 3, (0.02 + 0.02 + 0.02) / 3))


def test_spread_and_bias_are_loops_over_their_definition(random, known):
    predicted = softmax(random.normal(size=known.shape), axis=1)
    spread = bias = 0.0
    for i in range(len(known)):
        own = [j for j in range(len(known)) if all(known[j] == known[i])]
        mean = sum(predicted[j] for j in own) / len(own)
        spread += sum((predicted[i] - mean) ** 2) / len(known)
        bias += sum((mean - known[i]) ** 2) / len(known)
    found = truth.spread_and_bias(predicted, known, truth.siblings(known))
    assert found == pytest.approx((spread, bias), rel=1e-12)
    assert sum(found) == pytest.approx(((predicted - known) ** 2).sum() / len(known), rel=1e-12)


def test_a_network_that_predicts_the_same_for_all_siblings_has_no_spread(random, known):
    """As in Proposition 3.3: all its distance is bias."""
    groups = truth.siblings(known)
    predicted = softmax(random.normal(size=known.shape), axis=1)[groups]
    spread, bias = truth.spread_and_bias(predicted, known, groups)
    assert spread == pytest.approx(0, abs=1e-30)
    assert bias == pytest.approx(((predicted - known) ** 2).sum(axis=1).mean(), rel=1e-12)


def test_drawn_labels_as_predictions_have_a_bias_that_falls_with_their_number(random):
    """A network that memorises drawn labels is p* on average: all its distance is spread."""
    known = np.tile([0.6, 0.3, 0.1], (30_000, 1))
    memorised = np.eye(3)[random.choice(3, p=known[0], size=len(known))]
    spread, bias = truth.spread_and_bias(memorised, known, truth.siblings(known))
    assert spread == pytest.approx(1 - (known[0] ** 2).sum(), rel=0.02)
    assert bias < 1e-3


def test_images_without_siblings_have_no_spread(random):
    known, predicted = (softmax(random.normal(size=(9, 3)), axis=1) for _ in range(2))
    spread, bias = truth.spread_and_bias(predicted, known, truth.siblings(known))
    assert spread == 0
    assert bias == pytest.approx(((predicted - known) ** 2).sum(axis=1).mean())


def test_the_excess_of_nll_is_scipys_relative_entropy(random, known):
    logits = random.normal(size=known.shape)
    expected = rel_entr(known, softmax(logits, axis=1)).sum(axis=1).mean()
    assert truth.excess_nll(probabilities(logits)[1], known) == pytest.approx(expected, rel=1e-12)


def test_the_excess_of_nll_is_what_the_expected_nll_exceeds_the_entropy_by(random, known):
    logs = probabilities(random.normal(size=known.shape))[1]
    entropy = -sum(p * np.log(p) for p in known.ravel() if p) / len(known)
    expected = -(known * logs).sum(axis=1).mean() - entropy
    assert truth.excess_nll(logs, known) == pytest.approx(expected, rel=1e-12)


def test_the_true_distribution_has_no_excess(known):
    with np.errstate(divide="ignore"):
        assert truth.excess_nll(np.log(known), known) == 0


def test_a_class_that_is_possible_and_ruled_out_makes_the_excess_infinite():
    with np.errstate(divide="ignore"):
        assert truth.excess_nll(np.log([[1.0, 0.0]]), np.array([[0.5, 0.5]])) == np.inf
