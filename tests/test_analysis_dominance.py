"""The front against two other libraries, and its probability against closed forms."""

import moocore
import numpy as np
import paretoset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convbench.analysis.choice.dominance import means, medians, on_front, probability, seed_rows
from convbench.analysis.costs.pareto import front

TIED = st.tuples(st.integers(1, 30), st.integers(1, 5)).flatmap(lambda s: arrays(float, s, elements=st.integers(0, 4)))
RANDOM = st.tuples(st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32 - 1)).map(
    lambda s: np.random.default_rng(s[2]).random(s[:2])
)
BOTH = pytest.mark.parametrize("which", ["front", "on_front"])


def kept(points, which):
    if which == "on_front":
        return on_front(points)
    return np.isin(np.arange(len(points)), front(points))


@BOTH
@settings(deadline=None)
@given(points=st.one_of(TIED, RANDOM))
def test_the_front_is_that_of_moocore(which, points):
    if points.shape[1] > 1:
        assert (kept(points, which) == moocore.is_nondominated(points, keep_weakly=True)).all()


@BOTH
@settings(deadline=None)
@given(points=st.one_of(TIED, RANDOM))
def test_the_front_is_that_of_paretoset(which, points):
    assert (kept(points, which) == paretoset.paretoset(points, distinct=False, use_numba=False)).all()


def test_exact_duplicates_all_stay():
    points = [(1.0, 2.0, 3.0)] * 3 + [(1.0, 2.0, 3.5)]
    assert front(points) == [0, 1, 2]
    assert on_front(points).tolist() == [True, True, True, False]


def test_nothing_has_an_empty_front():
    assert front([]) == []


def test_a_tie_within_the_noise_floor_does_not_dominate():
    points = [(1.0, 1.0), (1.05, 1.0), (1.2, 1.0)]
    assert on_front(points).tolist() == [True, False, False]
    assert on_front(points, epsilon=(0.1, 0.1)).tolist() == [True, True, False]


def test_who_beats_all_beats_them_in_every_draw():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (500, 3))
    assert probability([np.array([1.0, 2.0, 3.0]) + noise, np.array([0.1, 0.2, 0.3]) + noise]).tolist() == [1, 0, 0]


def test_of_two_equals_each_is_beaten_in_half_of_the_draws():
    rng = np.random.default_rng(0)
    cost = np.ones((20_000, 2))
    assert probability([cost, rng.normal(size=(20_000, 2))]) == pytest.approx([0.5, 0.5], abs=0.01)


def test_seeds_are_drawn_jointly():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, (5, 1))
    better = np.hstack([shared, shared + 0.001])
    drawn = means(better, seed_rows(5, rng))
    assert (drawn[:, 1] > drawn[:, 0]).all()


def test_what_was_not_sound_is_left_out_of_a_draw():
    table = np.array([[0.5, 0.9], [0.7, np.nan], [0.6, np.nan]])
    drawn = means(table, np.array([[0, 1, 2], [1, 1, 2]]))
    assert drawn == pytest.approx(np.array([[0.6, 0.9], [2.0 / 3, 0.9]]))


@pytest.mark.parametrize("m", [1, 2, 7, 20, 41])
def test_bootstrap_medians_have_the_law_of_resampled_ones(m):
    rng = np.random.default_rng(m)
    samples = rng.lognormal(0, 0.3, m)
    resampled = np.median(rng.choice(samples, (40_000, m)), axis=1)
    ours = medians(samples, rng, 40_000)
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert (ours <= np.quantile(resampled, q)).mean() == pytest.approx(
            (resampled <= np.quantile(resampled, q)).mean(), abs=0.015
        )
