"""Rank correlation within groups, with a permutation test.

Runs of one seed share initial weights and the order of the images, so the level of a seed is no
evidence about the methods. Ranks are therefore compared within each seed only.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

MOST_EXACT = 1_000_000
"""With more permutations than this, the test draws a sample of them."""
DRAWN = 99_999
"""Number of permutations that are drawn then."""
ROUNDING = 1e-9
"""Two sums of products of ranks that differ by less are equal."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation and the test of the hypothesis that it is zero."""

    rho: float
    """From -1 to 1; NaN if no group has two different values of both variables."""
    p: float
    """Two-sided p-value of the permutation test; NaN if `rho` is."""
    permutations: int
    """Number of permutations that were compared with the data."""
    exact: bool
    """Whether these are all permutations."""


def rank_correlation(
    x: ArrayLike, y: ArrayLike, groups: Sequence[Hashable], seed: int = 0
) -> RankCorrelation:
    """Return Spearman's rank correlation within groups, and its permutation test.

    x, y, groups : one entry per observation, of equal length; x and y must be finite.
    seed : of the random numbers that draw permutations, if there are more than `MOST_EXACT`.

    Each group's values are replaced by their ranks less the group's mean rank (ties get the mean of
    their ranks), r_i of x and s_i of y. The correlation is

        rho = sum r_i s_i / sqrt(sum r_i^2 sum s_i^2),   sums over all observations,

    which is Spearman's if there is one group. Under the hypothesis, the values of y can be
    exchanged within a group. p is the share of such permutations for which |rho| is at least the
    observed one; of M drawn permutations, it is (1 + their number) / (1 + M) (Phipson and Smyth,
    Statistical Applications in Genetics and Molecular Biology 9, 2010). The groups are taken as
    independent. If the same few methods are in every group, the hypothesis is that they do not
    differ at all, so a small p says nothing about other methods: of the 24 orders that four methods
    can have, the same in three groups, 8 have p < 0.05. Raises `ValueError` if the
    lengths differ.
    """
    first, second = np.asarray(x, float), np.asarray(y, float)
    if not len(first) == len(second) == len(groups):
        raise ValueError(
            f"expected equal lengths, got {len(first)}, {len(second)} and {len(groups)}"
        )
    ranks = [
        (_centred_ranks(first[members]), _centred_ranks(second[members]))
        for members in _members(groups)
    ]
    informative = [(r, s) for r, s in ranks if r.any() and s.any()]
    scale = math.sqrt(sum(float(r @ r) for r, _ in ranks) * sum(float(s @ s) for _, s in ranks))
    if not informative:
        return RankCorrelation(math.nan, math.nan, 0, True)
    observed = sum(float(r @ s) for r, s in informative)
    n_permutations = math.prod(math.factorial(len(r)) for r, _ in informative)
    exact = n_permutations <= MOST_EXACT
    sums = _all_sums(informative) if exact else _drawn_sums(informative, seed)
    extreme = int(np.count_nonzero(np.abs(sums) >= abs(observed) - ROUNDING))
    p = extreme / len(sums) if exact else (1 + extreme) / (1 + len(sums))
    return RankCorrelation(observed / scale, p, len(sums), exact)


def _members(groups: Sequence[Hashable]) -> Iterator[list[int]]:
    """Yield the positions of each group's observations."""
    positions: dict[Hashable, list[int]] = {}
    for position, group in enumerate(groups):
        positions.setdefault(group, []).append(position)
    yield from positions.values()


def _centred_ranks(values: Floats) -> Floats:
    ranks: Floats = pd.Series(values).rank().to_numpy()
    return ranks - ranks.mean()


def _all_sums(ranks: list[tuple[Floats, Floats]]) -> Floats:
    """Return sum r_i s_i for every combination of the groups' permutations."""
    sums = np.zeros(1)
    for r, s in ranks:
        of_group = np.array(list(permutations(s))) @ r
        sums = np.add.outer(sums, of_group).ravel()
    return sums


def _drawn_sums(ranks: list[tuple[Floats, Floats]], seed: int) -> Floats:
    """Return sum r_i s_i for `DRAWN` permutations, each group's drawn independently."""
    generator = np.random.default_rng(seed)
    sums = np.zeros(DRAWN)
    for r, s in ranks:
        sums += generator.permuted(np.tile(s, (DRAWN, 1)), axis=1) @ r
    return sums
