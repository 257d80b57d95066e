"""Combine the visits in several fresh processes: a central value, and its interval from the spread between them.

A process is one draw: two fresh processes on the same quiet machine differ by ten times what the samples of either
suggest. Three visits tell little about their own spread, so it is moderated by the spread of all cases of the run, as
limma does it for genes (Smyth 2004, "Linear models and empirical Bayes methods"): the variance of a case is the mean of
its own and the prior's, weighted by the degrees of freedom of each. Values are logarithms throughout, so that spreads
are relative. The coverage is simulated in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, polygamma, stdtrit

from convbench.core.statistics import NORMAL, TAIL, Interval

MEDIAN_OVER_MEAN = (1.0, 1.0, 1.160, 1.092, 1.198, 1.135, 1.214, 1.160, 1.223, 1.176)
"""Standard error of the median of 1, 2, 3 ... normal values over that of their mean; for more it is near the limit."""
LIMIT_OF_MEDIAN = 1.2533
MOST_DEGREES = 1e4
SMALLEST_VARIANCE = 1e-8
"""Variance of visits that differ by 0.01 %, as a lower bound: none are closer, and 0 has no logarithm."""
GAP = 0.7
"""Visits run at two speeds if their widest gap is this share of their range or more, at least two on either side."""
STEEPEST = 1.3
"""Largest power of the reference's slowdown by which any case slows down: a larger one is chance."""
FAR = 4.0
"""A gap between visits of this many of the run's standard deviations is not chance."""
FEW = 8
"""Up to this many visits, the one beyond a far gap may be the usual speed and all others the exception.

With nine, a sign test at 2.5 % excludes it.
"""
LEAST_WITHIN = 0.12
"""Share of the visits' squares within two clusters below which more than ``FEW`` visits run at two speeds.

Clusters that differ by 15 % and spread by 2 % each leave no wide gap between many visits. Of normal values, 5 % of
nine and 1 % of fifteen are below it.
"""


class Prior(NamedTuple):
    """A variance that many groups share, worth ``degrees`` of freedom: how much the visits to a case differ."""

    degrees: float
    variance: float

    def scale(self, factor: float) -> Prior:
        """Return the prior of a quantity whose variance is ``factor`` times this one's."""
        return self._replace(variance=self.variance * factor)


ASSUMED = Prior(4.0, 0.15**2)
"""The prior if no case was visited twice: fresh processes were seen to differ by 13 to 16 %."""


def prior(groups: Iterable[Sequence[float]]) -> Prior:
    """Return the spread that the groups of logs share; ``ASSUMED`` if no group has two values.

    For each group the prior is worth at most as many degrees of freedom as the other groups have: two groups hardly
    tell what they share.
    """
    arrays = [np.asarray(values) for values in groups if len(values) > 1]
    if not arrays:
        return ASSUMED
    degrees = np.array([len(values) - 1 for values in arrays], dtype=float)
    variances = np.array([max(float(values.var(ddof=1)), SMALLEST_VARIANCE) for values in arrays])
    if len(arrays) == 1:
        return Prior(float(degrees[0]), float(variances[0]))
    other_degrees = float(degrees.sum() - degrees.mean())
    return fit_prior(variances, degrees, min(other_degrees, MOST_DEGREES))


def fit_prior(variances: np.ndarray, degrees: np.ndarray, most: float = MOST_DEGREES) -> Prior:
    """Return the prior of these variances, each with its ``degrees`` of freedom; it is worth ``most`` or fewer.

    How far their logarithms spread beyond chance tells how unlike they are (Smyth 2004, 6.2). If that is no more than
    chance, the variance is the pooled one, as in limma since 2017: with one or two degrees of freedom, the mean of
    logarithms tells little.
    """
    logs = np.log(variances) - digamma(degrees / 2) + np.log(degrees / 2)
    excess = float(logs.var(ddof=1) - polygamma(1, degrees / 2).mean())
    if excess <= polygamma(1, most / 2):
        return Prior(most, float(np.average(variances, weights=degrees)))
    half_degrees = trigamma_inverse(excess)
    return Prior(2 * half_degrees, float(np.exp(logs.mean() + digamma(half_degrees) - np.log(half_degrees))))


def trigamma_inverse(value: float) -> float:
    """Return the argument at which trigamma takes this value, by Newton's method (Smyth 2004, appendix)."""
    y = 0.5 + 1 / value
    for _ in range(30):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += step
        if abs(step) < 1e-6 * y:
            break
    return y


def estimate(logs: Sequence[float], common: Prior, shared_deviation: float = 0.0, tail: float = TAIL) -> Interval:
    """Return the median of the visits and its interval, converted back from logarithms.

    ``tail`` is the error that the spread between visits may cause at either end. ``shared_deviation`` is the standard
    deviation of an error that all visits share, which their spread does not show. Raises ValueError without values.
    """
    if not len(logs):
        raise ValueError("no visits")
    values = np.sort(np.asarray(logs, dtype=float))
    center = float(np.median(values))
    half_width = math.hypot(_half_width(values, common, tail), NORMAL * shared_deviation)
    low, high = center - half_width, center + half_width
    if at_two_speeds(values) or _has_far_gap(values, common):
        low, high = min(low, float(values[0])), max(high, float(values[-1]))
    return Interval(*(math.exp(min(value, 700.0)) for value in (center, low, high)))


def at_two_speeds(logs: Sequence[float] | np.ndarray) -> bool:
    """Whether the visits fall into two clusters that are far apart."""
    values = np.sort(np.asarray(logs, dtype=float))
    if len(values) < 4 or values[-1] <= values[0]:
        return False
    gaps = np.diff(values)
    index = int(np.argmax(gaps))
    is_apart = gaps[index] >= GAP * (values[-1] - values[0])
    if is_apart and min(index + 1, len(values) - index - 1) >= 2:
        return True
    return len(values) > FEW and _share_within(values) < LEAST_WITHIN


def _share_within(values: np.ndarray) -> float:
    """Return the share of sorted values' squares that two clusters of two values or more leave, at their best cut."""
    deviations, sizes = values - values.mean(), np.arange(2, len(values) - 1)
    sums = np.cumsum(deviations)[sizes - 1]
    between = sums**2 * (1 / sizes + 1 / (len(values) - sizes))
    return 1 - float(between.max() / (deviations**2).sum())


def _half_width(values: np.ndarray, common: Prior, tail: float) -> float:
    own_degrees = len(values) - 1
    degrees = min(common.degrees + own_degrees, MOST_DEGREES)
    squares = own_degrees * float(values.var(ddof=1)) if own_degrees else 0.0
    variance = (min(common.degrees, MOST_DEGREES) * common.variance + squares) / degrees
    factor = MEDIAN_OVER_MEAN[own_degrees] if own_degrees < len(MEDIAN_OVER_MEAN) else LIMIT_OF_MEDIAN
    return float(stdtrit(degrees, 1 - tail)) * factor * math.sqrt(variance / len(values))


def _has_far_gap(values: np.ndarray, common: Prior) -> bool:
    """Whether a few visits are so far apart that either side of the gap may be the exception."""
    return 2 <= len(values) <= FEW and bool(np.diff(values).max() > FAR * math.sqrt(common.variance))


def elasticity(pairs: Iterable[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Return the power of the reference workload's slowdown by which a case slows down, from the visits of all cases.

    A pair holds the logs of a case's visits and those of the reference in the same visits. Both are taken relative to
    their own median, so that only changes between visits count. The result is 0 if the two are not seen to go together.
    """
    deviations = [
        np.column_stack((np.subtract(latency, np.median(latency)), np.subtract(reference, np.median(reference))))
        for latency, reference in pairs
    ]
    if not deviations:
        return 0.0
    y, x = np.concatenate(deviations).T
    degrees = len(x) - len(deviations)
    if degrees < 8:
        return 0.0
    slope, error = slope_through_zero(x, y, degrees)
    return min(STEEPEST, slope) if slope > 2 * error else 0.0


def slope_through_zero(x: np.ndarray, y: np.ndarray, degrees: int) -> tuple[float, float]:
    """Return the slope of y over x, and its standard error; 0 and infinity if x is 0 throughout."""
    squares = float((x**2).sum())
    if squares == 0:
        return 0.0, math.inf
    slope = float((x * y).sum()) / squares
    return slope, math.sqrt(float(((y - slope * x) ** 2).sum()) / degrees / squares)
