"""Intervals from visits, on synthetic machines: they must reach their coverage, whatever the machine does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from convbench.core.spread import (
    ASSUMED,
    Prior,
    at_two_speeds,
    elasticity,
    estimate,
    fit_prior,
    prior,
    slope_through_zero,
)

CASES = 78


def even(rng, cases, visits):
    return rng.normal(0, 0.14, (cases, visits))


def quiet(rng, cases, visits):
    return rng.normal(0, 0.02, (cases, visits))


def unlike(rng, cases, visits):
    """Some cases repeat far better than others."""
    return rng.normal(0, 1, (cases, visits)) * np.exp(rng.normal(math.log(0.08), 0.7, (cases, 1)))


def drifting(rng, cases, visits):
    """The machine slows down by a third over the run; rounds are shuffled."""
    moments = (np.arange(visits) + rng.random((cases, visits))) / visits
    return 0.3 * (moments - 0.5) + rng.normal(0, 0.06, (cases, visits))


def bimodal(rng, cases, visits):
    """A quarter of the processes takes half as long again."""
    return 0.4 * (rng.random((cases, visits)) < 0.25) + rng.normal(0, 0.03, (cases, visits))


def some_bimodal(rng, cases, visits):
    slow = (rng.random((cases, visits)) < 0.3) & (rng.random((cases, 1)) < 0.3)
    return 0.4 * slow + rng.normal(0, 0.05, (cases, visits))


def bad_neighbour(rng, cases, visits):
    """For a tenth of the run's time everything takes twice as long."""
    return 0.7 * (rng.random((cases, visits)) < 0.1) + rng.normal(0, 0.05, (cases, visits))


def heavy_tailed(rng, cases, visits):
    return 0.08 * rng.standard_t(2.5, (cases, visits))


MACHINES = [even, quiet, unlike, drifting, bimodal, some_bimodal, bad_neighbour, heavy_tailed]


def truth(machine):
    """Return the median over processes, which the interval estimates. If the cases differ, each case's median."""
    if machine is some_bimodal:
        return 0.0
    return float(np.median(machine(np.random.default_rng(5), 20_000, 8)))


def intervals(logs):
    common = prior(logs)
    return [estimate(values, common) for values in logs]


@pytest.mark.parametrize("visits", [3, 5, 8])
@pytest.mark.parametrize("machine", MACHINES)
def test_intervals_cover_the_machines_median(machine, visits):
    rng, expected = np.random.default_rng(visits), math.exp(truth(machine))
    covered = [
        interval.low <= expected <= interval.high
        for _ in range(12)
        for interval in intervals(machine(rng, CASES, visits))
    ]
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("machine", MACHINES)
def test_two_runs_of_one_machine_agree(machine):
    """Nine in ten intervals of two runs overlap, and the second run hardly ever reverses an order of the first."""
    rng = np.random.default_rng(3)
    speeds = rng.normal(0, 0.5, CASES)
    meet, against, apart = [], 0, 0
    for _ in range(4):
        first, second = (intervals(machine(rng, CASES, 3) + speeds[:, None]) for _ in range(2))
        meet += [a.low <= b.high and b.low <= a.high for a, b in zip(first, second, strict=True)]
        for i in range(CASES):
            for j in range(CASES):
                if first[i].high < first[j].low:
                    apart += 1
                    against += second[j].high < second[i].low
    assert np.mean(meet) >= 0.93
    assert against <= 0.005 * apart


def test_coverage_does_not_come_from_wide_intervals():
    """If processes differ by 2 %, three visits give the median to 5 %; a lone t-interval of three gives 5.7 %."""
    logs = quiet(np.random.default_rng(1), CASES, 3)
    assert np.median([interval.relative_half_width for interval in intervals(logs)]) < 0.035


@pytest.mark.parametrize("cases", [2, 4])
def test_intervals_of_few_cases_reach_their_coverage(cases):
    """For two cases 88 % covered, because the spread that both share was taken as known."""
    rng = np.random.default_rng(11)
    runs = [rng.normal(0, 0.03, (cases, 3)) for _ in range(1500 // cases)]
    intervals = [estimate(logs, prior(run)) for run in runs for logs in run]
    assert np.mean([interval.low <= 1 <= interval.high for interval in intervals]) >= 0.93


def test_the_median_is_the_estimate():
    interval = estimate([math.log(2.0), math.log(3.0), math.log(100.0)], Prior(10, 0.01))
    assert interval.median == pytest.approx(3.0)
    assert interval.low < 3.0 < interval.high


def test_a_single_visit_uses_the_spread_of_other_cases():
    common = prior([[0.0, 0.1, -0.1]] * 20)
    interval = estimate([0.0], common)
    assert interval.high == pytest.approx(math.exp(1.96 * 0.1), rel=0.02)


def test_the_spread_is_assumed_if_no_case_has_two_visits():
    assert prior([[1.0], [2.0]]) is ASSUMED
    assert estimate([0.0], ASSUMED).relative_half_width > 0.4


def test_a_single_case_has_only_its_own_spread():
    assert prior([[0.0, 0.2]]) == Prior(1.0, pytest.approx(0.02))


def test_equal_visits_do_not_divide_by_zero():
    interval = estimate([0.0, 0.0, 0.0], prior([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert interval.low <= 1.0 <= interval.high


def test_two_speeds_need_two_visits_at_each():
    assert at_two_speeds([0.0, 0.01, 0.4, 0.41])
    assert not at_two_speeds([0.0, 0.01, 0.02, 0.4])
    assert not at_two_speeds([0.0, 0.4, 0.41, 0.42])
    assert not at_two_speeds([0.0, 0.1, 0.2, 0.3])


def test_the_interval_of_two_speeds_contains_both():
    interval = estimate([0.0, 0.01, 0.4, 0.41], Prior(1e4, 1e-4))
    assert interval.low == pytest.approx(1.0)
    assert interval.high == pytest.approx(math.exp(0.41))


def test_the_reference_reveals_a_slow_hour():
    rng = np.random.default_rng(2)
    hours = rng.normal(0, 0.2, (30, 3))
    cases = 0.6 * hours + rng.normal(0, 0.02, (30, 3))
    assert elasticity(zip(cases, hours, strict=True)) == pytest.approx(0.6, abs=0.05)


def test_an_uncorrelated_reference_corrects_nothing():
    rng = np.random.default_rng(2)
    hours, cases = rng.normal(0, 0.2, (30, 3)), rng.normal(0, 0.1, (30, 3))
    assert elasticity(zip(cases, hours, strict=True)) == 0.0


def test_few_visits_correct_nothing():
    assert elasticity([([0.0, 0.1, 0.2], [0.0, 0.1, 0.2])]) == 0.0
    three, four = ([([0.0, 0.1, 0.2], [0.0, 0.1, 0.2])] * cases for cases in (3, 4))
    assert [elasticity(three), elasticity(four)] == [0.0, pytest.approx(1.0)]


def test_a_slope_counts_from_two_standard_errors():
    """The slope is 1 and its error 1 / 2.84."""
    pairs = [([noise - 0.1, 0.0, noise + 0.1], [-0.1, 0.0, 0.1]) for noise in (0.0995, -0.0995)]
    assert elasticity(pairs * 2) == pytest.approx(1.0)


def test_no_case_slows_down_far_more_than_the_reference():
    assert elasticity([([0.0, 0.4, 0.8], [0.0, 0.2, 0.4])] * 4) == 1.3


def test_a_slope_and_its_error_have_closed_forms():
    slope, error = slope_through_zero(np.array([1.0, 2.0]), np.array([2.0, 2.0]), 3)
    assert (slope, error) == (pytest.approx(1.2), pytest.approx(math.sqrt((0.8**2 + 0.4**2) / 3 / 5)))
    assert slope_through_zero(np.zeros(2), np.ones(2), 3) == (0.0, math.inf)


@pytest.mark.parametrize(("visits", "factor"), [(1, 1.0), (3, 1.160), (11, 1.2533)])
def test_an_interval_moderates_the_spread_and_adds_the_shared_error(visits, factor):
    logs = 0.1 * np.arange(visits)
    variance = (4 * 0.02 + float(((logs - logs.mean()) ** 2).sum())) / (4 + visits - 1)
    half_width = stdtrit(4 + visits - 1, 0.975) * factor * math.sqrt(variance / visits)
    for shared, half in ((0.0, half_width), (0.3, math.hypot(half_width, 1.96 * 0.3))):
        bounds = [math.exp(np.median(logs) + sign * half) for sign in (0, -1, 1)]
        assert estimate(logs[::-1], Prior(4.0, 0.02), shared) == pytest.approx(bounds)
    assert estimate([0.0], Prior(1.0, 1e6)).high == math.exp(700)


def test_one_visit_of_three_is_far_off_beyond_four_deviations():
    common = Prior(1e4, 1e-4)
    near, far, low = (estimate([0.0, 0.001, 0.001 + gap], common) for gap in (0.039, 0.041, -0.042))
    assert near.high < math.exp(0.02) < math.exp(0.042) == pytest.approx(far.high)
    assert low.low == pytest.approx(math.exp(-0.041))


@pytest.mark.parametrize("visits", [2, 4, 8])
def test_a_lone_visit_far_off_may_be_the_usual_speed_until_there_are_nine(visits):
    """Two visits at two speeds had an interval around the middle, which no process showed."""
    common, logs = Prior(1e4, 1e-4), [0.0, *[0.7] * (visits - 1)]
    interval = estimate(logs, common)
    assert interval.low == pytest.approx(1.0)
    assert interval.high >= math.exp(0.7)
    assert estimate([0.0, *[0.7] * 8], common).low > 1.9


@pytest.mark.parametrize("visits", [12, 30])
def test_many_visits_at_two_near_speeds_tell_both(visits):
    """Two speeds 15 % apart, equally often: of the intervals of thirty visits, 40 % reached the middle."""
    rng = np.random.default_rng(visits)
    logs = math.log(1.15) * (rng.random((CASES, visits)) < 0.5) + rng.normal(0, 0.02, (CASES, visits))
    middle = math.sqrt(1.15)
    assert np.mean([interval.low <= middle <= interval.high for interval in intervals(logs)]) >= 0.93
    assert np.mean([at_two_speeds(values) for values in rng.normal(0, 0.02, (CASES, visits))]) <= 0.03


def test_two_speeds_are_apart_by_seven_tenths_of_the_range():
    assert at_two_speeds([1.81, 1.0, 2.0, 1.1])
    assert not at_two_speeds([1.79, 1.0, 2.0, 1.1])


def test_a_prior_of_like_variances_is_their_pooled_one():
    """As many degrees as allowed; the same for visits that are equal, whose variance has a lower bound."""
    assert fit_prior(np.array([0.01, 0.02]), np.array([1.0, 3.0]), 8.0) == (8.0, pytest.approx(0.0175))
    assert prior([[0.0, 0.1, 0.2], [1.0, 1.1, 1.2]]) == (2.0, pytest.approx(0.01))
    assert prior([[0.0] * 3] * 3) == (4.0, pytest.approx(1e-8))


def test_a_prior_of_unlike_variances_is_found_again():
    """Variances drawn from a prior of 6 degrees and 0.04. It is never worth more than is allowed."""
    rng = np.random.default_rng(0)
    variances = 0.04 * 6 / rng.chisquare(6, 4000) * rng.chisquare(2, 4000) / 2
    degrees, variance = fit_prior(variances, np.full(4000, 2.0))
    assert (degrees, variance) == (pytest.approx(6, rel=0.1), pytest.approx(0.04, rel=0.05))
    worths = [fit_prior(variances[i : i + 5], np.full(5, 2.0), 8.0).degrees for i in range(0, 1000, 5)]
    assert max(worths) == 8.0 > min(worths) > 0
