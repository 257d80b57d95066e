"""Test fronts against brute force, and that no front spans groups."""

import math

import records
from hypothesis import given
from hypothesis import strategies as st

from convbench.analysis.costs.pareto import front, fronts
from convbench.analysis.results import results
from convbench.core import metrics

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=25)


def dominated(point, points):
    return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)


@given(POINTS)
def test_a_front_holds_every_undominated_point(points):
    assert sorted(front(points)) == [i for i, point in enumerate(points) if not dominated(point, points)]


@given(POINTS)
def test_a_front_descends_like_a_staircase(points):
    stair = [points[i] for i in front(points)]
    assert stair == sorted(stair)
    assert [y for _, y in stair] == sorted((y for _, y in stair), reverse=True)


def test_a_point_that_is_no_number_is_on_no_front():
    """It was never taken off the queue: the search did not end."""
    assert front([(math.nan, 1.0), (2.0, 1.0), (1.0, math.nan), (1.0, 2.0)]) == [3, 1]
    assert front([(math.nan, 1.0)]) == []


def test_fronts_are_drawn_within_groups():
    cheap = records.record(records.case(scenario="streaming"))
    case_results = results([cheap, records.record(), records.record(environment="e2")])
    fronts_by_group = fronts(case_results, metrics.PARAMS, metrics.LATENCY)
    assert len(fronts_by_group) == 3
    assert all(len(members) == 1 for members in fronts_by_group.values())


def test_a_result_without_a_cost_is_left_out():
    static = records.record(samples=0)
    assert fronts(results([static]), metrics.PARAMS, metrics.LATENCY) == {}


def test_no_front_spans_backbones_or_variants():
    cases = [records.case("gap", channels=8), records.case("gap"), records.case("gap", variant="compile")]
    case_results = results([records.record(case) for case in cases])
    assert [len(front) for front in fronts(case_results, metrics.PARAMS, metrics.LATENCY).values()] == [1, 1, 1]
