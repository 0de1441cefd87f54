"""Statistics against published examples, independent formulas and simulations."""

import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from soteacher.report.paper_values import paper_values
from soteacher.statistics.images import difference_over_images
from soteacher.statistics.paired import (
    MOST_SEEDS,
    paired,
    power_of,
    seeds_needed,
    smallest_difference,
)
from soteacher.statistics.several import highest_share, holm, sign_test, wilcoxon
from soteacher.statistics.welch import Summary, welch

# "Student" (1908), the table of additional hours of sleep: the same ten patients, two drugs
SLEEP = np.array([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])


def test_the_paired_interval_is_that_of_student_s_sleep_data():
    """R: t.test(extra ~ group, sleep, paired = TRUE) prints these in its documentation."""
    found = paired(SLEEP)
    assert found.n == 10
    assert found.difference == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert found.p == pytest.approx(0.002833, abs=5e-7)


def test_two_pairs_have_the_interval_that_the_cauchy_distribution_has():
    """t with one degree of freedom: its 97.5 % quantile is tan(0.475 pi)."""
    found = paired([1.0, 3.0])
    half = math.tan(0.475 * math.pi) * math.sqrt(2) / math.sqrt(2)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))
    assert found.p == pytest.approx(1 - 2 * math.atan(2) / math.pi)


def test_the_test_against_another_value_moves_p_and_the_seeds_alone():
    at_zero, at_one = paired(SLEEP), paired(SLEEP, 1.0)
    assert (at_one.low, at_one.high, at_one.sd) == (at_zero.low, at_zero.high, at_zero.sd)
    assert at_one.p == pytest.approx(paired(SLEEP - 1).p)
    assert at_one.seeds_needed == paired(SLEEP - 1).seeds_needed > at_zero.seeds_needed


def test_the_interval_excludes_a_value_exactly_if_the_test_rejects_it():
    values = np.random.default_rng(1).normal(0.4, 1, (300, 4))
    found = [paired(row, 0.1) for row in values]
    excluded = [not one.low <= 0.1 <= one.high for one in found]
    assert excluded == [one.p < 0.05 for one in found]
    assert 0 < sum(excluded) < 300


@pytest.mark.parametrize("n", [2, 3, 5])
def test_95_of_100_intervals_have_the_true_difference(n):
    values = np.random.default_rng(n).normal(0.7, 2, (2000, n))
    covered = sum(one.low <= 0.7 <= one.high for one in map(paired, values))
    # 2000 draws with the probability 0.95: within 4 standard errors
    assert abs(covered / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_the_smallest_difference_is_found_in_80_of_100_studies(n):
    sd = 1.7
    true = smallest_difference(n, sd)
    values = np.random.default_rng(n).normal(true, sd, (20000, n))
    found = np.mean(stats.ttest_1samp(values, 0, axis=1).pvalue < 0.05)
    assert abs(found - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 20000)


def test_without_a_true_difference_5_of_100_studies_find_one():
    assert power_of(4, 0.0) == pytest.approx(0.05)
    values = np.random.default_rng(3).normal(0, 1, (2000, 4))
    found = np.mean([paired(row).p < 0.05 for row in values])
    assert abs(found - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10), (2.0, 5)])
def test_the_seeds_needed_are_those_of_published_tables(effect, n):
    """G*Power 3.1: matched pairs, two tails, alpha 0.05, power 0.8, effect size dz."""
    assert seeds_needed(effect, 1.0) == seeds_needed(-3 * effect, 3.0) == n


def test_fewer_seeds_than_needed_have_less_power():
    n = seeds_needed(0.7, 1.0)
    assert power_of(n - 1, 0.7) < 0.8 <= power_of(n, 0.7)


def test_a_difference_that_no_number_of_seeds_finds_has_none():
    assert seeds_needed(1e-3, 1.0) is None
    assert seeds_needed(0.0, 1.0) is seeds_needed(math.nan, 1.0) is None
    assert seeds_needed(1.0, math.nan) is None
    just = smallest_difference(MOST_SEEDS, 1.0)
    assert seeds_needed(1.001 * just, 1.0) <= MOST_SEEDS
    assert seeds_needed(0.999 * just, 1.0) is None


def test_a_very_large_difference_needs_two_seeds():
    assert seeds_needed(1e9, 1.0) == 2


def test_one_seed_has_a_difference_and_nothing_else():
    found = paired([0.5])
    assert (found.n, found.difference, found.seeds_needed) == (1, 0.5, None)
    others = (found.sd, found.low, found.high, found.p, found.smallest)
    assert all(math.isnan(value) for value in others)


def test_no_seed_has_nothing():
    found = paired([math.nan])
    assert found.n == 0
    assert math.isnan(found.difference)


def test_pairs_with_a_missing_run_are_left_out():
    assert paired([1.0, math.nan, 3.0]) == paired([1.0, 3.0])


def test_equal_differences_have_no_t_interval_and_the_sign_test_decides():
    rounded = [0.3 - 0.1, 0.2, 0.1 + 0.1]  # equal but for their last bits
    found = paired(rounded)
    assert math.isnan(found.low)
    assert (found.sd, found.p, found.seeds_needed) == (0, 1 / 4, 6)
    assert math.isnan(found.smallest)  # three equal differences do not show that any is found
    six = paired([0.2] * 6)
    assert (six.low, six.high, six.p) == pytest.approx((0.2, 0.2, 1 / 32))
    assert paired([0.0, 0.0]).p == 1
    assert paired([0.0, 0.0]).seeds_needed is None


def test_welch_s_test_is_scipy_s_from_statistics():
    a, b = Summary(5.2, 1.1, 7), Summary(4.1, 2.3, 4, -1.0)
    expected = stats.ttest_ind_from_stats(5.2, 1.1, 7, 4.1, 2.3, 4, equal_var=False)
    assert welch([a, b]).p == pytest.approx(expected.pvalue)
    assert welch([a, b]).difference == pytest.approx(1.1)


def test_welch_s_interval_is_that_of_the_sleep_data_taken_as_two_groups():
    """R: t.test(extra ~ group, sleep) prints -3.3654832 and 0.2054832, p 0.07939."""
    first, second = Summary(0.75, 1.78901, 10), Summary(2.33, 2.002249, 10, -1.0)
    found = welch([first, second])
    assert (found.low, found.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-5)
    assert found.p == pytest.approx(0.07939, abs=1e-5)


def test_a_contrast_of_four_groups_keeps_its_level():
    """Two differences, averaged; the mean of the four groups is equal."""
    generator, rejected, draws = np.random.default_rng(5), 0, 2000
    sds = (1.0, 2.0, 0.5, 1.5)
    for _ in range(draws):
        groups = [generator.normal(0, sd, 6) for sd in sds]
        terms = [
            Summary(group.mean(), group.std(ddof=1), 6, sign / 2)
            for group, sign in zip(groups, (1, -1, 1, -1), strict=True)
        ]
        rejected += welch(terms).p < 0.05
    assert rejected / draws == pytest.approx(0.05, abs=0.02)


def test_welch_s_test_of_groups_without_spread():
    terms = [Summary(2.0, 0.0, 3), Summary(1.5, 0.0, 3, -1.0)]
    assert (welch(terms).low, welch(terms).high, welch(terms).p) == (0.5, 0.5, 0)
    assert welch(terms, 0.5).p == 1


def test_holm_s_correction_of_a_worked_example():
    """Holm (1979) by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03 and then no less than that."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_the_sign_test_counts_heads():
    assert sign_test([1.0] * 13) == pytest.approx(2 / 2**13)
    assert sign_test([1.0, -1.0, 0.0]) == 1
    # 1 of 8: 2 (1 + 8) / 256
    assert sign_test([-1.0] + [2.0] * 7) == pytest.approx(18 / 256)
    assert sign_test([0.0]) == sign_test([]) == 1


def test_wilcoxon_s_test_is_exact():
    """All 2^n signs of the ranks are equally likely."""
    assert wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(2 / 2**6)
    # rank sums of at most 1: none, or the smallest alone
    assert wilcoxon([-1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(4 / 2**6)
    assert wilcoxon([0.0]) == wilcoxon([]) == 1


def test_wilcoxon_s_test_has_ties_where_only_rounding_differs():
    """Differences of accuracies: 1, 1, 2, -1, 3, 4, 4 and 5 images, in percent of 450."""
    images = [1, 1, 2, -1, 3, 4, 4, 5]
    rounded = [
        100 * ((150 + 31 * place + n) / 450) - 100 * ((150 + 31 * place) / 450)
        for place, n in enumerate(images)
    ]
    assert len({abs(one) for one in rounded}) > len({abs(n) for n in images})
    assert wilcoxon(rounded) == wilcoxon(images)


def test_a_share_s_highest_value_is_clopper_s_and_pearson_s():
    """The share for which at most k of n have the probability 0.025."""
    high = highest_share(4, 13)
    assert stats.binom.cdf(4, 13, high) == pytest.approx(0.025)
    assert highest_share(13, 13) == 1


def test_the_interval_over_images_is_that_of_two_independent_runs():
    difference, low, high = difference_over_images((60.0, 57.0, 63.0), (55.0, 51.0, 59.0))
    assert (difference, low, high) == (5, 0, 10)
    # with unequal ends, the lower end has the first's lower and the second's upper end
    assert difference_over_images((60.0, 57.0, 60.0), (55.0, 55.0, 59.0))[1:] == (0, 5)


def test_the_paper_s_table_6_has_25_significant_comparisons_and_14_after_holm():
    table = paper_values().loc["table6"]
    p = []
    for (row, column), cell in table.iterrows():
        if column.endswith(" soteacher"):
            other = table.loc[row, column.replace(" soteacher", " standard")]
            p.append(
                stats.ttest_ind_from_stats(
                    cell["mean"], cell["sd"], 3, other["mean"], other["sd"], 3, equal_var=False
                ).pvalue
            )
    assert (len(p), sum(one < 0.05 for one in p)) == (39, 25)
    assert sum(one < 0.05 for one in holm(p)) == 14


def test_tables_and_figures_of_accuracies_start_without_scipy_stats():
    """Its import takes longer than a whole table."""
    modules = ("statistics.welch", "statistics.rank_correlation", "report.figures.checkpoints")
    imports = "; ".join(f"import soteacher.{name}" for name in modules)
    code = f"import sys; {imports}; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
