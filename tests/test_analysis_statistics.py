"""Test medians, their intervals, percentiles and ratios against closed forms, and their coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from convbench.core.statistics import (
    Interval,
    _lower_rank,
    mean_interval,
    median_interval,
    percentile,
    percentile_bound,
    rate_interval,
    ratio_interval,
)


@pytest.mark.parametrize(("n", "rank"), [(5, 0), (6, 1), (8, 1), (9, 2), (20, 6), (100, 40)])
def test_ranks_match_the_published_tables(n, rank):
    assert _lower_rank(n) == rank


@given(st.integers(6, 3000))
def test_a_rank_is_the_tightest_that_still_covers(n):
    rank = _lower_rank(n)
    assert binom.cdf(rank - 1, n, 0.5) <= 0.025 < binom.cdf(rank, n, 0.5)


def test_interval_of_known_samples():
    assert median_interval(range(1, 21)) == Interval(10.5, 6, 15)


def test_five_samples_give_no_bounded_interval():
    interval = median_interval([1, 2, 3, 4, 5])
    assert interval.median == 3
    assert not interval.bounded
    assert interval.relative_half_width == math.inf


def test_a_width_is_relative_to_the_size_of_the_median():
    assert Interval(-2.0, -3.0, -1.0).relative_half_width == 0.5
    assert Interval(0.0, -1.0, 1.0).relative_half_width == math.inf
    assert [Interval(1.0, 0.5, high).bounded for high in (2.0, math.inf)] == [True, False]
    assert not Interval(1.0, -math.inf, 2.0).bounded


def test_equal_samples_have_no_width():
    assert median_interval([0.0] * 9).relative_half_width == 0


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="no samples"):
        median_interval([])


def test_percentiles_need_enough_samples():
    assert percentile([1.0] * 63, 90) is None
    assert percentile(range(100), 90) == 90
    assert percentile([1.0] * 659, 99) is None
    assert percentile(range(1000), 99) == 990


@pytest.mark.parametrize(("q", "least"), [(90, 36), (99, 368)])
def test_a_bound_of_a_percentile_is_the_smallest_sample_that_covers(q, least):
    rng = np.random.default_rng(q)
    assert percentile_bound([], q) is None
    assert percentile_bound(range(least - 1), q) is None
    for n in (least, least + 1, 2 * least, 5000):
        rank = int(percentile_bound(rng.permutation(n), q))
        assert binom.cdf(rank - 1, n, q / 100) < 0.975 <= binom.cdf(rank, n, q / 100)


@pytest.mark.parametrize("count", range(6))
def test_a_rates_interval_is_that_of_clopper_and_pearson(count):
    assert rate_interval(count, 5) == pytest.approx(tuple(binomtest(count, 5).proportion_ci(0.95, "exact")))


def test_two_values_are_enough_for_a_means_interval():
    assert mean_interval([1.0, 3.0]) == pytest.approx((2.0, 2.0 - 12.706, 2.0 + 12.706), rel=1e-4)


def covered(n, draw, truth, estimate, trials=1500):
    hits = 0
    for _ in range(trials):
        interval = estimate(draw(n))
        hits += interval.low <= truth <= interval.high
    return hits / trials


@pytest.mark.parametrize("n", [6, 20, 101])
def test_median_interval_covers_at_its_level(n):
    rng = np.random.default_rng(n)
    assert covered(n, lambda k: rng.lognormal(0, 0.6, k), 1.0, median_interval) >= 0.94


@pytest.mark.parametrize(("n", "m"), [(20, 20), (20, 200), (60, 60)])
@pytest.mark.parametrize("spread", [0.02, 0.5])
def test_ratio_interval_covers_at_its_level(n, m, spread):
    rng = np.random.default_rng(n * m)

    def estimate(_):
        slow, fast = rng.lognormal(math.log(3), spread, n), rng.lognormal(0, 2 * spread, m)
        return ratio_interval(median_interval(slow), median_interval(fast))

    assert 0.94 <= covered(n, lambda k: k, 3.0, estimate) <= 0.995


def test_ratio_of_too_few_samples_is_unbounded():
    few, many = median_interval([2.0, 2.0]), median_interval([1.0] * 20)
    assert ratio_interval(few, many).median == 2
    assert not ratio_interval(few, many).bounded
    assert not ratio_interval(many, few).bounded


@pytest.mark.parametrize("low", [0.0, -0.5])
def test_a_ratio_of_values_that_may_be_zero_is_unbounded(low):
    zero, other = Interval(1.0, low, 2.0), Interval(1.0, 0.9, 1.1)
    for ratio in (ratio_interval(zero, other), ratio_interval(other, zero)):
        assert ratio == (1.0, -math.inf, math.inf)


def test_a_reversed_ratio_is_the_inverse():
    a, b = Interval(3.0, 2.5, 4.0), Interval(1.0, 0.9, 1.3)
    there, back = ratio_interval(a, b), ratio_interval(b, a)
    assert there.low == pytest.approx(1 / back.high)
    assert there.high == pytest.approx(1 / back.low)
