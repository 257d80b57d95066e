"""The Pareto front against two other libraries, and its probability against closed forms."""

import moocore
import numpy as np
import paretoset
import pytest
import records
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from convbench.analysis.choice import stability
from convbench.analysis.choice.by_task import recommendations
from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.costs.pareto import front, on_front, probability
from convbench.analysis.quality.qualities import qualities
from convbench.analysis.results import result

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
@given(points=st.one_of(TIED, RANDOM))
def test_the_front_matches_moocore(which, points):
    if points.shape[1] > 1:
        assert (kept(points, which) == moocore.is_nondominated(points, keep_weakly=True)).all()


@BOTH
@given(points=st.one_of(TIED, RANDOM))
def test_the_front_matches_paretoset(which, points):
    assert (kept(points, which) == paretoset.paretoset(points, distinct=False, use_numba=False)).all()


def test_exact_duplicates_all_stay_on_the_front():
    points = [(1.0, 2.0, 3.0)] * 3 + [(1.0, 2.0, 3.5)]
    assert front(points) == [0, 1, 2]
    assert on_front(points).tolist() == [True, True, True, False]


def test_no_points_have_an_empty_front():
    assert front([]) == []


def test_a_dominating_point_dominates_in_every_draw():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (500, 3))
    assert probability([np.array([1.0, 2.0, 3.0]) + noise, np.array([0.1, 0.2, 0.3]) + noise]).tolist() == [1, 0, 0]


def test_each_of_two_equals_is_dominated_half_the_time():
    rng = np.random.default_rng(0)
    cost = np.ones((20_000, 2))
    assert probability([cost, rng.normal(size=(20_000, 2))]) == pytest.approx([0.5, 0.5], abs=0.01)


def test_membership_matches_moocore_for_three_objectives():
    rng = np.random.default_rng(1)
    latency, memory, error = (rng.normal(mean, 0.2, (300, 6)) for mean in (rng.random(6), rng.random(6), rng.random(6)))
    points = np.stack([latency, memory, error], axis=-1)
    shares = np.mean([moocore.is_nondominated(draw, keep_weakly=True) for draw in points], axis=0)
    assert probability([latency, memory, error]) == pytest.approx(shares)


def test_seed_effects_are_drawn_jointly_for_all_candidates():
    """Every seed shows a lead of one point, while seeds differ by ten points."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0.7, 0.1, (5, 1))
    leads = np.array([0.0, 0.01, -0.1, -0.2])
    runs = [{seed: float(value) for seed, value in enumerate(column)} for column in (shared + leads).T]
    pool = [records_of(i, by_seed) for i, by_seed in enumerate(runs)]
    assert stability.membership(pool, ("latency",))[1] == 1.0
    drawn = stability.quality_draws(pool, rng)
    assert (drawn[:, 1] > drawn[:, 0]).mean() > 0.99


def test_a_figure_and_an_answer_state_the_same_probabilities():
    """The figure read "front 76 %" for the pick and the sentence beside it 77 %."""
    for answer in recommendations(records.quality_records(seeds=2), Ask()):
        shares = stability.membership(answer.pool, answer.ask.against)
        by_answer = {id(answer.pick): answer.front} | {id(runner.candidate): runner.front for runner in answer.runners}
        assert shares == [by_answer[id(candidate)] for candidate in answer.pool]
        assert any(0 < share < 1 for share in shares)


def test_latency_is_drawn_from_its_interval():
    pool = [records_of(0, {0: 0.5, 1: 0.6})]
    interval = pool[0].result.latency
    drawn = stability.cost_draws(pool, "latency", np.random.default_rng(0), 40_000)[:, 0]
    assert np.median(drawn) == pytest.approx(interval.median, rel=0.01)
    assert np.log(np.quantile(drawn, 0.975) / np.quantile(drawn, 0.025)) == pytest.approx(
        np.log(interval.high / interval.low), rel=0.05
    )


def records_of(i, by_seed):
    of = records.case(records.choice(f"own-{i}"), 32 + i)
    lessons = [records.lesson(value, seed=seed, of=of) for seed, value in by_seed.items()]
    (quality,) = qualities(lessons)
    return Candidate(quality, result(records.record(of, latency=1e-3 * (i + 1))))
