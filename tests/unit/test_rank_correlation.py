"""Rank correlation in groups: scipy for one group, permutations by hand, level by simulation."""

from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from soteacher.statistics import rank_correlation as module
from soteacher.statistics.rank_correlation import rank_correlation


@pytest.mark.parametrize("seed", range(4))
def test_of_one_group_it_is_spearman_s_and_the_test_is_scipy_s(seed):
    values = np.random.default_rng(seed)
    x, y = values.normal(size=6), values.integers(0, 4, size=6)  # y has ties
    found = rank_correlation(x, y, ["seed"] * 6)
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    tested = stats.permutation_test(
        (x,),
        lambda x: stats.spearmanr(x, y).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
    )
    larger = np.abs(tested.null_distribution) >= abs(tested.statistic) - 1e-12
    assert found.p == pytest.approx(larger.mean())
    assert (found.permutations, found.exact) == (720, True)


def test_two_groups_worked_by_hand():
    """Of the 3! 2! = 12 permutations, only the data and its full reversal are as extreme."""
    found = rank_correlation([1, 2, 3, 10, 20], [5, 6, 7, 0, 1], ["a", "a", "a", "b", "b"])
    assert (found.rho, found.permutations) == (pytest.approx(1), 12)
    assert found.p == pytest.approx(2 / 12)


def test_permutations_of_groups_agree_with_an_enumeration_of_whole_data_sets():
    values = np.random.default_rng(5)
    x, y, groups = values.normal(size=9), values.normal(size=9), [0, 1, 2] * 3

    def of(y):
        """The correlation of ranks less the means of their groups, by a loop."""
        pairs = []
        for group in range(3):
            r, s = stats.rankdata(x[group::3]), stats.rankdata(y[group::3])
            pairs += list(zip(r - 2, s - 2, strict=True))
        r, s = np.array(pairs).T
        return np.corrcoef(r, s)[0, 1]

    found = rank_correlation(x, y, groups)
    assert found.rho == pytest.approx(of(y))
    as_extreme = []
    for orders in product(*(permutations(range(group, 9, 3)) for group in range(3))):
        changed = np.empty(9)
        for group, order in enumerate(orders):
            changed[group::3] = y[list(order)]
        as_extreme.append(abs(of(changed)) >= abs(of(y)) - 1e-9)
    assert len(as_extreme) == found.permutations == 216
    assert found.p == pytest.approx(np.mean(as_extreme))


def test_the_level_of_a_group_is_no_correlation():
    """Seeds with higher x have higher y, but within a seed the order is reversed."""
    x, y = [1, 2, 3, 11, 12, 13], [3, 2, 1, 33, 32, 31]
    assert stats.spearmanr(x, y).statistic > 0.5
    assert rank_correlation(x, y, [0, 0, 0, 1, 1, 1]).rho == pytest.approx(-1)


@pytest.mark.parametrize(
    ("x", "y", "groups"),
    [([], [], []), ([1, 2], [1, 2], [0, 1]), ([1, 1, 1], [1, 2, 3], [0, 0, 0])],
)
def test_without_two_different_values_in_a_group_there_is_no_correlation(x, y, groups):
    found = rank_correlation(x, y, groups)
    assert math.isnan(found.rho) and math.isnan(found.p)


def test_more_permutations_than_can_be_compared_are_drawn_with_the_same_result_each_time(
    monkeypatch,
):
    values = np.random.default_rng(7)
    x = values.normal(size=12)
    y, groups = x + 2 * values.normal(size=12), [0, 1] * 6
    exact = rank_correlation(x, y, groups)
    assert exact.exact and exact.permutations == 720**2
    monkeypatch.setattr(module, "MOST_EXACT", 1000)
    drawn = rank_correlation(x, y, groups)
    assert (drawn.exact, drawn.permutations, drawn.rho) == (False, module.DRAWN, exact.rho)
    assert drawn.p != exact.p
    error = math.sqrt(exact.p * (1 - exact.p) / module.DRAWN)
    assert abs(drawn.p - exact.p) < 4 * error
    assert rank_correlation(x, y, groups) == drawn


def test_a_drawn_p_value_is_never_zero(monkeypatch):
    monkeypatch.setattr(module, "MOST_EXACT", 1)
    monkeypatch.setattr(module, "DRAWN", 9)
    x = list(range(12))
    assert rank_correlation(x, x, [0] * 12).p == pytest.approx(1 / 10)


def test_the_test_keeps_its_level():
    """Without a relation, p <= 0.05 in at most 5 % of the cases, but for chance (500 cases)."""
    values = np.random.default_rng(11)
    found = [
        rank_correlation(values.normal(size=8), values.normal(size=8), [0, 1] * 4).p
        for _ in range(500)
    ]
    rejected = sum(p <= 0.05 for p in found)
    assert stats.binom.ppf(1e-3, 500, 0.04) <= rejected <= stats.binom.ppf(1 - 1e-3, 500, 0.05)


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match="expected equal lengths, got 2, 3 and 2"):
        rank_correlation([1, 2], [1, 2, 3], [0, 0])


def test_methods_that_keep_their_order_in_every_group_are_no_further_evidence():
    """The same order in three groups: p is small for a third of all orders, as docs say."""
    groups = [group for group in "abc" for _ in range(4)]
    x = [0, 1, 2, 3] * 3
    p = [rank_correlation(x, [*order] * 3, groups).p for order in permutations(range(4))]
    assert sum(one < 0.05 for one in p) == 8
