"""The numbers of docs/theory.md, and what it says of the paper's proofs, by other computations."""

from __future__ import annotations

import importlib.util
import itertools
import re

import numpy as np
import pytest
from scipy.optimize import minimize


@pytest.fixture(scope="module")
def theory(root):
    path = root / "docs/theory_numbers.py"
    specification = importlib.util.spec_from_file_location("theory_numbers", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(root):
    return (root / "docs/theory.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def terms(theory):
    return theory.theorem_terms()


def numbers(row):
    return [float(number.replace(",", "")) for number in re.findall(r"[\d.,]+", row)]


def rows_after(page, heading):
    """Numbers of the rows of the table with this first line."""
    table = page.partition(heading)[2].partition("\n\n")[0]
    return [numbers(row) for row in table.splitlines() if re.match(r"\| \d", row)]


def test_the_page_has_the_numbers_that_are_computed(page, theory, terms):
    computed = [numbers(row) for row in theory.sibling_rows()]
    printed = rows_after(page, "| K | siblings | Eq. (3)")
    assert len(printed) == 10
    np.testing.assert_allclose(printed, computed, rtol=0.06)  # two digits, and draws
    computed = [numbers(row) for row in theory.theorem_rows(terms)]
    printed = rows_after(page, "| r | balls N^r |")
    assert len(printed) == 10
    np.testing.assert_allclose(printed, computed, atol=0.06)


def test_the_text_has_the_numbers_that_are_computed(page, theory, terms):
    text = " ".join(page.split())
    (low, found), (low_half, found_half) = (theory.least_sums(terms, kappa) for kappa in (1, 2))
    assert f"is {found:.1f}, and {found_half:.1f} for half of the images" in text
    assert f"add up to {low:.1f} for κ = 1, and to {low_half:.1f} for κ = 2" in text
    share = theory.largest_share(100)
    assert f"the first term is {theory.covering_term(1, 100):.1f} if each" in text
    assert f"below 2 only if {share * 50_000:.0f} balls or fewer" in text
    assert f"at least {1 / share:.0f} images in each" in text
    assert f"{theory.xi(10)} for ten classes" in text and f"ξ_K is {theory.xi(100)}." in text
    distances, apart = theory.digits()
    assert f"images of two classes are {distances[apart > 0].min():.2f} apart" in text
    nearest = np.where(np.eye(len(distances)) > 0, np.inf, distances).min(axis=1)
    assert f"nearest neighbour at a distance of {np.median(nearest):.2f} or more" in text
    sizes = np.bincount(theory.Digits().read().train_labels)
    assert f"have {sizes.min()} to {sizes.max()} training images per class" in text
    assert f"says {theory.proposition_bound(sizes.min(), 10):.2f} at most" in text
    error = theory.mean_error(round(sizes.mean()), theory.noisy(10))
    assert f"noisy labels is {error:.2f} from" in text


@pytest.mark.parametrize("truth", [[0.1] * 10, [0.6, 0.28, 0.12, 0.0], [0.5, 0.5]])
@pytest.mark.parametrize("n", [1, 7, 200])
def test_the_expected_error_is_that_of_drawn_labels(theory, truth, n):
    truth = np.array(truth)
    labels = np.random.default_rng(5).choice(len(truth), size=(20_000, n), p=truth)
    shares = np.stack([(labels == k).mean(axis=1) for k in range(len(truth))], axis=1)
    errors = np.abs(shares - truth).sum(axis=1)
    sure = 4 * errors.std() / np.sqrt(len(errors)) + 1e-12
    assert theory.mean_error(n, truth) == pytest.approx(errors.mean(), abs=sure)


def test_errors_are_within_both_bounds_and_weissman_s_is_the_tighter(theory):
    for n_classes, n in itertools.product((10, 100), (10, 100, 1000, 10_000)):
        paper, weissman = (
            theory.proposition_bound(n, n_classes),
            theory.weissman_bound(n, n_classes),
        )
        for truth in (np.full(n_classes, 1 / n_classes), theory.noisy(n_classes)):
            assert theory.exceeded_error(n, truth) < weissman < paper
    ratios = {
        n_classes: [
            theory.proposition_bound(n, n_classes)
            / theory.exceeded_error(n, theory.noisy(n_classes))
            for n in (10, 100, 1000, 10_000)
        ]
        for n_classes in (10, 100)
    }
    assert 4 < min(ratios[10]) <= max(ratios[10]) < 4.6
    assert 13 < min(ratios[100]) <= max(ratios[100]) < 14.5
    steps = [theory.proposition_bound(n, 10) / theory.proposition_bound(4 * n, 10) for n in (5, 90)]
    assert steps == pytest.approx([2, 2])


@pytest.mark.parametrize("n_classes", [2, 3, 10, 100])
def test_inequality_13_follows_from_weissman_s_and_is_weaker(n_classes):
    exponent = np.linspace(0, 4 * n_classes, 4001)  # N epsilon^2 / 2
    weissman = np.minimum(0, np.log(2.0**n_classes - 2) - exponent)  # log of a probability
    assert (weissman <= np.log(2) - exponent / n_classes).all()


def log_loss(p, labels):
    return -np.log(np.maximum(p[labels], 1e-300)).mean()


def brier(p, labels):
    return np.square(p - np.eye(len(p))[labels]).sum(axis=1).mean()


@pytest.mark.parametrize("loss", [log_loss, brier])
def test_one_prediction_for_all_siblings_is_best_at_the_mean_of_their_labels(loss):
    labels = np.random.default_rng(0).choice(4, size=40, p=[0.5, 0.25, 0.15, 0.1])
    found = minimize(
        lambda p: loss(p, labels),
        np.full(4, 0.25),
        bounds=[(1e-6, 1)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(found.x, np.bincount(labels, minlength=4) / 40, atol=1e-4)


def test_xi_is_its_definition(theory):
    for n_classes in (2, 10, 100):
        one_hot = np.eye(n_classes)[0]
        assert theory.xi(n_classes) == pytest.approx(
            1 + n_classes * np.abs(one_hot - 1 / n_classes).sum()
        )


@pytest.mark.parametrize("radius", [0.0, 0.1, 0.3, 0.8])
def test_no_covering_is_smaller_than_the_packing_and_none_is_needed_larger(theory, radius):
    """On a line, the least covering is known: from the left, each ball begins at the next point."""
    points = np.sort(np.random.default_rng(2).random(60))
    distances = np.abs(points[:, None] - points)
    least, end = 0, -np.inf
    for point in points:
        if point > end:
            least, end = least + 1, point + 2 * radius
    assert theory.packing_number(distances, radius) <= least
    assert least <= theory.covering_size(distances, radius) <= len(points)
    assert theory.packing_number(distances, radius) > least / 3


NORMS = {"l1": 1, "l2": 2, "linf": np.inf}


def least_loss(shares, radius, norm):
    """Solve problem (20): return the centre's prediction, from a general solver.

    The variables are the centre p and one prediction for each class of label, as images with equal
    labels have equal predictions at the minimum (the problem is convex).
    """
    n = len(shares)
    signs = np.array(list(itertools.product((-1, 1), repeat=n)))

    def room(variables):
        """At least zero where each prediction is within the radius of the centre."""
        p, *others = variables.reshape(n + 1, n)
        steps = np.array(others) - p
        if norm == "l1":  # smooth: one constraint for each choice of signs
            return (radius - steps @ signs.T).ravel()
        if norm == "linf":
            return np.concatenate([radius - steps, radius + steps]).ravel()
        return radius**2 - np.square(steps).sum(axis=1)

    def loss(variables):
        own = np.diag(variables.reshape(n + 1, n)[1:])
        return -(shares[shares > 0] * np.log(np.maximum(own[shares > 0], 1e-12))).sum()

    start = np.tile(shares * 0.8 + 0.2 / n, (n + 1, 1)).ravel()
    found = minimize(
        loss,
        start,
        method="SLSQP",
        bounds=[(0, 1)] * len(start),
        constraints=[
            {"type": "ineq", "fun": room},
            {"type": "eq", "fun": lambda v: v.reshape(n + 1, n).sum(axis=1) - 1},
        ],
        options={"ftol": 1e-13, "maxiter": 2000},
    )
    assert found.success, found.message
    assert room(found.x).min() > -1e-7
    return found.x.reshape(n + 1, n)[0]


STEPS = {"linf": 1.0, "l1": 0.5, "l2": np.sqrt(2 / 3)}
"""How far a probability of three can rise within a radius of 1."""


@pytest.mark.parametrize("norm", NORMS)
def test_the_lemma_s_minimizer_is_exact_in_the_largest_norm_alone(norm):
    shares, radius = np.array([0.5, 0.3, 0.2]), 0.1
    found = least_loss(shares, radius, norm)
    step = STEPS[norm] * radius
    np.testing.assert_allclose(found, shares * (1 + 3 * step) - step, atol=2e-4)
    lemma = shares * (1 + 3 * radius) - radius
    assert bool(np.abs(found - lemma).max() < 2e-4) is (norm == "linf")


def test_where_a_class_is_absent_the_lemma_s_minimizer_is_negative_and_the_true_one_zero():
    shares, radius = np.array([0.7, 0.3, 0.0]), 0.1
    assert (shares * (1 + 3 * radius) - radius)[2] == pytest.approx(-0.1)
    found = least_loss(shares, radius, "linf")
    np.testing.assert_allclose(found, [0.7 * 1.2 - 0.1, 0.3 * 1.2 - 0.1, 0], atol=2e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_the_step_from_the_lemma_to_the_theorem_still_holds(norm, seed):
    """Eq. (28): the centre is within K L r times the distance of the shares from uniform."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(12, [0.6, 0.3, 0.1])
    shares, radius = counts / 12, 0.05
    found = least_loss(shares, radius, norm)
    order = NORMS[norm]
    apart = np.linalg.norm(found - shares, ord=order)
    assert apart <= radius * 3 * np.linalg.norm(shares - 1 / 3, ord=order) + 1e-4
