"""Steps, spikes, drift and noise in invented series whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from convbench.analysis.history import steps
from convbench.analysis.history.steps import LEAST_NOISE, LEAST_POINTS, LEAST_RUNS, shape

STEP = math.log(1.1)


def series(seed: int, count: int = 60, noise: float = 0.01) -> np.ndarray:
    return noise * np.random.default_rng(seed).standard_normal(count)


def stepped(seed: int, place: int = 30, size: float = STEP, **more: float) -> np.ndarray:
    values = series(seed, **more)
    values[place:] += size
    return values


def test_a_step_without_noise_is_found_at_its_place():
    series_shape = shape([0.0] * 10 + [STEP] * 10)
    (step,) = series_shape.steps
    assert (step.place, step.first, step.last) == (10, 10, 10)
    assert step.log == pytest.approx(STEP)
    assert series_shape.levels == pytest.approx([0.0] * 10 + [STEP] * 10)
    assert (series_shape.spikes, series_shape.slope, series_shape.noise) == ((), 0.0, LEAST_NOISE)


def test_a_steps_interval_is_no_wider_than_students():
    (step,) = shape([0.0] * 5 + [STEP] * 15).steps
    assert step.half == pytest.approx(t.ppf(0.975, 19 / 2) * LEAST_NOISE * math.sqrt(1 / 5 + 1 / 15))


@pytest.mark.parametrize("count", range(LEAST_POINTS))
def test_too_few_values_have_a_level_but_no_step(count):
    values = [0.0, 1.0, 0.0, 5.0, 5.0][:count]
    series_shape = shape(values)
    assert series_shape.steps == ()
    assert series_shape.visible == math.inf
    assert list(series_shape.levels) == ([np.median(values)] * count if values else [])


def test_noise_alone_is_rarely_a_step():
    assert sum(bool(shape(series(seed)).steps) for seed in range(200)) <= 4


@pytest.mark.parametrize("count", [6, 7, 8, 10, 15, 30])
def test_noise_alone_is_seldom_a_step_in_short_series(count):
    assert sum(bool(shape(series(seed, count)).steps) for seed in range(200)) <= 14


def test_a_steps_interval_and_range_hold_the_truth_despite_noise():
    shapes = [shape(stepped(seed, size=0.03)) for seed in range(100)]
    steps = [series_shape.steps[0] for series_shape in shapes if len(series_shape.steps) == 1]
    assert len(steps) >= 98
    assert sum(step.first <= 30 <= step.last for step in steps) >= 90
    assert sum(abs(step.log - 0.03) <= step.half for step in steps) >= 90


@pytest.mark.parametrize("spikes", [(20,), (20, 21), (59,), (58, 59), (57, 58), (0,), (1, 2), (10, 25, 40)])
def test_one_or_two_spikes_in_a_row_are_no_step(spikes):
    values = series(1)
    values[list(spikes)] += 0.5
    series_shape = shape(values)
    assert series_shape.steps == ()
    assert set(spikes) <= set(series_shape.spikes)
    assert series_shape.levels == pytest.approx(np.zeros(60), abs=0.01)


@pytest.mark.parametrize("count", [6, 7, 8, 10, 12, 20])
@pytest.mark.parametrize("width", [1, 2])
def test_a_spike_near_an_end_is_no_step_in_short_series(count, width):
    """Two slow runs, and a usual one after them, were a change; of six runs, the last one alone was."""
    values = series(7, count, noise=0.003)
    for place in range(count - width + 1):
        spiked = values.copy()
        spiked[place : place + width] += 0.3
        assert shape(spiked).steps == ()


def test_many_outliers_are_noise_and_no_spikes():
    values = series(1)
    values[::3] += 0.5
    assert shape(values).spikes == ()
    assert shape(values).noise > 0.1


@pytest.mark.parametrize(("period", "are_spikes"), [(7, False), (10, True)])
def test_at_most_a_fifth_of_the_values_are_spikes(period, are_spikes):
    values = series(1, noise=0.002)
    high = np.arange(60) % period >= period - 2
    values[high] += 0.5
    assert shape(values).spikes == (tuple(np.flatnonzero(high)) if are_spikes else ())


@pytest.mark.parametrize(("count", "spikes"), [(LEAST_POINTS, ()), (LEAST_POINTS + 1, (3,))])
def test_spikes_leave_enough_values_to_show_a_step(count, spikes):
    values = np.zeros(count)
    values[3] = 0.5
    assert shape(values).spikes == spikes


def test_a_spike_beside_a_step_does_not_hide_it():
    values = stepped(2)
    values[[15, 29, 31, 45]] += 0.5
    (step,) = shape(values).steps
    assert abs(step.place - 30) <= 2


def test_a_change_is_reported_from_its_third_run_on():
    for after in range(1, 5):
        values = np.concatenate([series(3, 30), STEP * 2 + series(4, after)])
        assert bool(shape(values).steps) == (after >= LEAST_RUNS)


@pytest.mark.parametrize("total", [0.05, -0.08])
def test_drift_is_a_slope_and_not_a_step(total):
    shapes = [shape(series(seed, 120) + np.linspace(0, total, 120)) for seed in range(50)]
    assert sum(bool(series_shape.steps) for series_shape in shapes) <= 1
    slopes = [series_shape.slope * 119 for series_shape in shapes]
    assert np.median(slopes) == pytest.approx(total, rel=0.1)


def test_few_runs_with_a_clear_step_do_not_drift():
    """Real runs, four of either commit: they were said to drift by 44 %, because Student's t made the step too dear."""
    milliseconds = [0.3005, 0.3351, 0.3008, 0.3118, 0.3860, 0.4091, 0.3924, 0.4274]
    series_shape = shape(np.log(milliseconds))
    assert ([step.place for step in series_shape.steps], series_shape.slope) == ([4], 0.0)


def test_short_series_tell_a_step_from_a_slope():
    """Of a hundred series of eight runs with a step, 45 had shown it, and 36 were said to drift."""
    rise = np.linspace(0, 0.05, 8)
    stepped_shapes = [shape(stepped(seed, 4, 0.05, count=8)) for seed in range(100)]
    sloping_shapes = [shape(series(seed, 8) + rise) for seed in range(100)]
    assert sum(bool(series_shape.steps) for series_shape in stepped_shapes) >= 58
    assert sum(bool(series_shape.slope) for series_shape in stepped_shapes) <= 23
    assert sum(bool(series_shape.steps) for series_shape in sloping_shapes) <= 14


def test_a_step_on_a_slope_gives_both():
    values = stepped(5, 60, count=120) + np.linspace(0, 0.06, 120)
    series_shape = shape(values)
    assert [step.place for step in series_shape.steps] == [60]
    assert series_shape.slope * 119 == pytest.approx(0.06, rel=0.25)


def test_a_step_up_and_a_step_down_are_two_steps():
    values = stepped(6) - np.where(np.arange(60) >= 45, STEP, 0)
    up, down = shape(values).steps
    assert (up.place, down.place) == (30, 45)
    assert up.log > 0 > down.log


def test_a_step_below_the_least_size_is_left_out():
    assert shape([0.0] * 100 + [0.009] * 100).steps == ()
    assert len(shape([0.0] * 100 + [0.011] * 100).steps) == 1


def test_noise_correlated_between_runs_is_rarely_a_step():
    """A rule that trusts the differences of neighbours takes values that wander for steps."""
    count = 0
    for seed in range(100):
        rng, values = np.random.default_rng(seed), np.zeros(120)
        for place in range(1, 120):
            values[place] = 0.6 * values[place - 1] + 0.01 * rng.standard_normal()
        count += bool(shape(values).steps)
    assert count <= 12


@pytest.mark.parametrize("correlation", [0.5, 0.8])
def test_values_that_wander_around_one_level_are_seldom_steps(correlation):
    """Of fifty runs whose noise lasts, 29 and 55 % had a step: steps took the residuals that show that it lasts."""
    count = 0
    for seed in range(60):
        rng, values = np.random.default_rng(seed), np.zeros(50)
        for place in range(1, 50):
            values[place] = correlation * values[place - 1] + 0.01 * rng.standard_normal()
        count += bool(shape(values).steps)
    assert count <= 12


@pytest.mark.parametrize(
    ("sizes", "wanders"),
    [([0.0111], True), ([0.0128], False), ([0.0256, -0.0256], True), ([0.0276, -0.0276], False), ([], False)],
)
def test_a_step_costs_three_log_n_and_a_correlation_one(sizes, wanders):
    """The sizes lie a tenth to a fifth of log n beside the place at which both explanations cost the same."""
    flat = 0.01 * np.tile([1.0, -1.0, -1.0, 1.0], 6)
    starts = [24 * number // (len(sizes) + 1) for number in range(1, len(sizes) + 1)]
    for start, size in zip(starts, sizes, strict=True):
        flat[start:] += size
    level, fit = (steps._Fit(flat, places, slope=0.0, noise=0.01, penalty=0.0) for places in ([], starts))
    assert steps._wanders(level, fit) is wanders


@pytest.mark.parametrize(("share", "factor"), [(0.3, 2.0), (0.3, 1.15), (0.5, 2.0)])
def test_runs_at_two_speeds_are_seldom_steps(share, factor):
    """Processes are slow by chance. The noise left out jumps between the speeds: 50 to 80 % of series had a step."""
    shapes = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shapes.append(shape(math.log(factor) * (rng.random(50) < share) + rng.normal(0, 0.01, 50)))
    assert sum(bool(form.steps) for form in shapes) <= 9
    assert np.median([form.visible for form in shapes]) > 0.1


def test_a_visible_step_is_found_in_nine_of_ten_series():
    visible = float(np.median([shape(series(seed)).visible for seed in range(100)]))
    hits = sum(bool(shape(stepped(seed, size=math.log1p(visible))).steps) for seed in range(100))
    assert 80 <= hits <= 96, "a larger step would not be the smallest that is seen so often"
