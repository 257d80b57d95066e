"""Find where a series of values changes its level: steps, told from spikes, drift and noise. Pure functions.

1. Spikes, far from the running median, are left out: neither one run nor two neighbours make a change.
2. Optimal partitioning (Jackson et al. 2005) finds exactly the steps that explain most. Each must explain more than
   ``3 log n`` variances (Zhang and Siegmund 2007), widened by Student's t if few runs tell the noise.
3. The same is done with a slope over the whole series, which costs 2 log n. If that is cheaper in all, it drifts,
   unless steps alone explain enough and the information criterion, which Student's t does not widen, is for them.
4. Noise that lasts from run to run is no reason for a step: then steps have to explain more. Steps also have to explain
   more than values that wander around one level (an autoregression of first order), and than runs at two speeds.

Values are logarithms, so that steps and noise are relative. ``tests/bench/history.py`` measures precision and recall.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.special import ndtr, stdtrit

from convbench.analysis.inference.arrays import Floats
from convbench.core.statistics import TAIL, robust_deviation

LEAST_RUNS = 3
"""Least number of runs on either side of a step."""
WINDOW, END_WINDOW, SPIKE_ERRORS = 7, 5, 4.0
"""Lengths of the running median and of that at the ends, and standard deviations from it that make a value a spike."""
IN_A_ROW = 2
"""Spikes in a row that make no change, however short the series."""
LEAST_NOISE, LEAST_STEP = 0.002, 0.01
"""Least noise of any series, and size below which steps and drifts are not reported; both as logarithms."""
SURE_SHARE, NINE_OF_TEN = 0.95, 1.2816
PENALTY = 3.0
"""Variances that a step must explain, for each log n."""
MOST_SPIKES, MOST_CORRELATION = 0.2, 0.9
SLOPE_COSTS = 2 / 3
"""Penalty of a slope over that of a step: a slope has no place that was chosen."""
EVIDENCE = 2.0
"""Difference of two information criteria from which it speaks for one of them (Kass and Raftery 1995)."""
ROUNDS, MOST_STARTS = 3, 5
"""Greatest number of rounds that find steps and slope from one another, and of single steps to start from."""
LEAST_POINTS = 2 * LEAST_RUNS


class Step(NamedTuple):
    """A step of ``log`` at the value at ``place``; with 95 % it begins at one of ``first`` to ``last``.

    ``before`` is the last value before ``first`` that is no spike, since a spike may be the new level's own. ``half``
    is half the width of the 95 % interval of ``log``.
    """

    place: int
    before: int
    first: int
    last: int
    log: float
    half: float


@dataclass(frozen=True)
class SeriesShape:
    """What a series of values consists of: steps, spikes (their places), ``slope`` and ``noise``, both per run.

    ``levels`` is the series without noise and spikes. ``visible`` is the smallest step in its middle that would be seen
    in nine of ten such series.
    """

    levels: Floats
    steps: tuple[Step, ...] = ()
    spikes: tuple[int, ...] = ()
    slope: float = 0.0
    noise: float = 0.0
    visible: float = math.inf


@dataclass(frozen=True)
class _Fit:
    """Values less a slope, cut into levels at ``starts``; ``penalty`` is what a step must explain."""

    flat: Floats
    starts: list[int]
    slope: float
    noise: float
    penalty: float

    @property
    def residuals(self) -> Floats:
        return np.concatenate([part - part.mean() for part in np.split(self.flat, self.starts)])


def shape(values: Sequence[float] | Floats) -> SeriesShape:
    """Find the shape of a series; a series of too few values, spikes left out, has one level and nothing else."""
    series = np.asarray(values, dtype=float)
    count = len(series)
    spikes = _spikes(series) if count >= LEAST_POINTS else ()
    times = np.setdiff1d(np.arange(count), spikes)
    if len(times) < LEAST_POINTS:
        return SeriesShape(np.full(count, np.median(series) if count else 0.0))
    fit = _drop_small_steps(_fit(times, series[times]))
    places = [int(times[start]) for start in fit.starts]
    means = [part.mean() for part in np.split(fit.flat, fit.starts)]
    levels = np.repeat(means, np.diff([0, *places, count])) + fit.slope * np.arange(count)
    steps = tuple(_step(fit, times, number) for number in range(len(places)))
    return SeriesShape(levels, steps, spikes, fit.slope, fit.noise, _visible_step(len(times), fit))


def _noise(values: Floats, most_far: float = 1.0) -> float:
    """Estimate the standard deviation of a value from differences of neighbours, few of which steps spoil.

    Differences far from the others are left out, unless their share exceeds ``most_far``.
    """
    jumps = np.diff(values)
    is_near = np.abs(jumps - np.median(jumps)) <= 3 * robust_deviation(jumps)
    if 1 - is_near.mean() > most_far:
        return max(LEAST_NOISE, float(jumps.std()) / math.sqrt(2))
    return max(LEAST_NOISE, 1.014 * float(jumps[is_near].std()) / math.sqrt(2))  # 1.014 makes up for the cut


def _spikes(values: Floats) -> tuple[int, ...]:
    """Return the places of values far from their neighbours; none if these are so many that they are noise.

    At either end the five outermost values are the neighbours: two spikes do not move their median, and the first or
    last three values, which may be a level, do.
    """
    medians = median_filter(values, WINDOW)
    medians[:LEAST_RUNS], medians[-LEAST_RUNS:] = np.median(values[:END_WINDOW]), np.median(values[-END_WINDOW:])
    places = np.flatnonzero(np.abs(values - medians) > SPIKE_ERRORS * _noise(values))
    return tuple(map(int, places)) if len(places) <= max(IN_A_ROW, MOST_SPIKES * len(values)) else ()


def _fit(times: NDArray[np.intp], values: Floats) -> _Fit:
    """Fit steps alone or steps on a slope, whichever costs less; again with more noise if noise lasts."""
    best_fit = _best_fit(times, values, _noise(values, MOST_SPIKES))
    for _ in range(ROUNDS):
        lasting_noise = _lasting_noise(best_fit)
        if lasting_noise <= best_fit.noise:
            break
        best_fit = _best_fit(times, values, lasting_noise)
    level = replace(best_fit, starts=[])
    return _best_fit(times, values, _lasting_noise(level)) if _wanders(level, best_fit) else best_fit


def _wanders(level: _Fit, fit: _Fit) -> bool:
    """Whether values that wander around one level explain a series as well as the steps of the fit do."""
    steps, count = len(fit.starts), len(fit.flat)
    squares = float((level.residuals**2).sum()) * (1 - _correlation(level) ** 2)
    ratio = squares / max(float((fit.residuals**2).sum()), sys.float_info.min)
    return bool(steps) and count * math.log(max(ratio, 1.0)) < math.log(count) * (PENALTY * steps - 1)


def _best_fit(times: NDArray[np.intp], values: Floats, noise: float) -> _Fit:
    """Return the cheapest fit with or without a slope.

    The search for a slope starts from no steps, from all steps found without a slope, and from the first of these one
    by one: no start alone is enough.
    """
    flat_fit = best_fit = _fit_at_slope(times, values, 0.0, noise)
    single_starts = [[start] for start in flat_fit.starts[:MOST_STARTS]] if len(flat_fit.starts) > 1 else []
    for starts in ([], *([flat_fit.starts] if flat_fit.starts else []), *single_starts):
        for _ in range(ROUNDS):
            slope = _slope(times, values, starts)
            if abs(slope) * len(values) < LEAST_STEP:
                break
            slope_fit = _fit_at_slope(times, values, slope, noise)
            best_fit = min(best_fit, slope_fit, key=_cost)
            if slope_fit.starts == starts:
                break
            starts = slope_fit.starts
    is_stepped = bool(flat_fit.starts) and _information(flat_fit) + EVIDENCE < _information(best_fit)
    return flat_fit if is_stepped else best_fit


def _information(fit: _Fit) -> float:
    """Return the Bayesian information criterion: it tells steps from a slope if both explain enough.

    What a few runs add to the penalty protects from changes by chance. It must not favour the slope, which costs less.
    """
    squares, count = float((fit.residuals**2).sum()), len(fit.flat)
    return count * math.log(max(squares, sys.float_info.min)) + _changes(fit) * PENALTY * math.log(count)


def _changes(fit: _Fit) -> float:
    """Return how many steps the fit has, with the slope as a part of one."""
    return len(fit.starts) + SLOPE_COSTS * bool(fit.slope)


def _cost(fit: _Fit) -> float:
    return float((fit.residuals**2).sum()) + fit.penalty * _changes(fit)


def _fit_at_slope(times: NDArray[np.intp], values: Floats, slope: float, noise: float) -> _Fit:
    flat, count = values - slope * times, len(values)
    tail = float(ndtr(-math.sqrt(PENALTY * math.log(count))))
    penalty = (noise * float(stdtrit(_degrees(count), 1 - tail))) ** 2
    return _Fit(flat, _partition(flat, penalty), slope, noise, penalty)


def _degrees(count: int) -> float:
    """Return the degrees of freedom of a noise that is estimated from differences of neighbours."""
    return (count - 1) / 2


def _partition(values: Floats, penalty: float) -> list[int]:
    """Return where levels begin, after the first, with the least sum of squares and penalties."""
    values, count = values - values.mean(), len(values)
    sums, squares = (np.concatenate([[0.0], np.cumsum(array)]) for array in (values, values**2))
    cost, best_starts = np.full(count + 1, math.inf), np.zeros(count + 1, dtype=int)
    cost[0] = -penalty
    for end in range(LEAST_RUNS, count + 1):
        starts, lengths = slice(end - LEAST_RUNS + 1), np.arange(end, LEAST_RUNS - 1, -1)
        costs = cost[starts] + squares[end] - squares[starts] - (sums[end] - sums[starts]) ** 2 / lengths
        best_starts[end] = costs.argmin()
        cost[end] = costs[best_starts[end]] + penalty
    borders, end = [], count
    while end := int(best_starts[end]):
        borders.append(end)
    return borders[::-1]


def _slope(times: NDArray[np.intp], values: Floats, starts: Sequence[int]) -> float:
    """Return the slope that all levels share."""
    x, y = (
        np.concatenate([part - part.mean() for part in np.split(array, starts)])
        for array in (times.astype(float), values)
    )
    return float((x * y).sum() / (x**2).sum())


def _lasting_noise(fit: _Fit) -> float:
    """Estimate noise as it shows in means of many values: more than that of a value if neighbours deviate alike."""
    correlation, residuals = _correlation(fit), fit.residuals
    if correlation <= 2 / math.sqrt(len(residuals)):
        return fit.noise
    correlation = min(correlation, MOST_CORRELATION)
    return max(fit.noise, float(residuals.std()) * math.sqrt((1 + correlation) / (1 - correlation)))


def _correlation(fit: _Fit) -> float:
    """Return how alike the residuals of neighbours are, from -1 to 1."""
    residuals = fit.residuals
    squares = float((residuals**2).sum())
    return float((residuals[1:] * residuals[:-1]).sum()) / squares if squares else 0.0


def _drop_small_steps(fit: _Fit) -> _Fit:
    """Remove the steps that are too small to report."""
    starts = list(fit.starts)
    while starts:
        sizes = np.abs(np.diff([part.mean() for part in np.split(fit.flat, starts)]))
        if sizes.min() >= LEAST_STEP:
            break
        del starts[int(sizes.argmin())]
    return replace(fit, starts=starts)


def _step(fit: _Fit, times: NDArray[np.intp], number: int) -> Step:
    bounds = [0, *fit.starts, len(fit.flat)]
    begin, place, end = bounds[number : number + 3]
    before, after = fit.flat[begin:place], fit.flat[place:end]
    half = float(stdtrit(_degrees(len(times)), 1 - TAIL)) * fit.noise * math.sqrt(1 / len(before) + 1 / len(after))
    first, last = _range(fit.flat[begin:end], fit.noise)
    log = float(after.mean() - before.mean())
    places = [int(times[index]) for index in (place, begin + first - 1, begin + first, begin + last)]
    return Step(places[0], places[1], places[2], places[3], log, half)


def _range(values: Floats, noise: float) -> tuple[int, int]:
    """Return between which places the one step of these values lies, by the likelihood of each place."""
    count = len(values)
    places = np.arange(LEAST_RUNS, count - LEAST_RUNS + 1)
    sums = np.cumsum(values)[places - 1]
    explained_squares = sums**2 / places + (values.sum() - sums) ** 2 / (count - places)
    likelihoods = np.exp((explained_squares - explained_squares.max()) / (2 * noise**2))
    order = np.argsort(-likelihoods)
    number = int(np.searchsorted(np.cumsum(likelihoods[order]), SURE_SHARE * likelihoods.sum())) + 1
    likely_places = places[order[:number]]
    return int(likely_places.min()), int(likely_places.max())


def _visible_step(count: int, fit: _Fit) -> float:
    """Return the relative size of a step in the middle that nine of ten series would show.

    It has to beat a slope, which explains three quarters of its squares and costs less. This takes a larger step than
    to exceed its penalty.
    """
    penalty = fit.penalty / fit.noise**2
    height = 2 * (NINE_OF_TEN + math.sqrt(NINE_OF_TEN**2 + penalty * (1 - SLOPE_COSTS)))
    return math.expm1(height * fit.noise * 2 / math.sqrt(count))
