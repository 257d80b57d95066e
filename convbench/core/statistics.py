"""Describe raw samples: the median and its interval, percentiles if enough samples were taken, ratios of medians.

Intervals are at the 95 % level and describe the samples of one process; they do not include the spread between
processes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, stdtrit

TAIL = 0.025
NORMAL = 1.96
"""Standard deviations within which 95 % of normal values lie."""
MAD = 1.4826
"""Standard deviations of normal values in one median absolute deviation."""
NEAR_THE_END = 30
"""Up to this many clips of the rarer outcome, over all runs, a t-interval may have no width by chance."""
SAMPLES_FOR_PERCENTILE = {90: 64, 99: 660}
"""Samples that a percentile needs before it is worth stating (MLPerf LoadGen's early stopping)."""


class Interval(NamedTuple):
    """A central value and the 95 % interval around it, in the unit of the samples."""

    median: float
    low: float
    high: float

    @property
    def relative_half_width(self) -> float:
        """Half the width of the interval over the median; infinite with fewer than six samples."""
        width = (self.high - self.low) / 2
        if width == 0:
            return 0.0
        return width / abs(self.median) if self.median else math.inf

    @property
    def bounded(self) -> bool:
        """Whether there were enough samples for an interval at all."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@lru_cache(maxsize=4096)
def _lower_rank(n: int) -> int:
    """Return the largest k with P(Binomial(n, 1/2) < k) <= 2.5 %; 0 if no order statistic bounds the median."""
    return int(np.count_nonzero(bdtr(np.arange(n // 2 + 1), n, 0.5) <= TAIL))


def median_interval(samples: Sequence[float]) -> Interval:
    """Return the median and its distribution-free 95 % interval from order statistics (binomial ranks).

    Fewer than six samples cannot bound a median at this level: the interval is then infinite on both sides. Raises
    ValueError without samples.
    """
    if not len(samples):
        raise ValueError("no samples")
    values = np.sort(np.asarray(samples, dtype=float))
    rank = _lower_rank(len(values))
    median = float(np.median(values))
    if rank == 0:
        return Interval(median, -math.inf, math.inf)
    return Interval(median, float(values[rank - 1]), float(values[-rank]))


def mean_interval(values: Sequence[float], floor: float = 0.0) -> Interval:
    """Return the mean, as the central value, and its 95 % t-interval. Raises ValueError for fewer than two values.

    ``floor`` is the part of the mean's variance that more values do not reduce.
    """
    n = len(values)
    if n < 2:
        raise ValueError("fewer than two values")
    mean = statistics.fmean(values)
    half_width = float(stdtrit(n - 1, 1 - TAIL)) * math.sqrt(statistics.variance(values) / n + floor)
    return Interval(mean, mean - half_width, mean + half_width)


def accuracy_interval(values: Sequence[float], clips: int, union: int | None = None, floor: float = 0.0) -> Interval:
    """Return the mean of accuracies, each taken on ``clips`` clips, and its 95 % interval, within 0 and 1.

    This is Student's t-interval over runs. Near 0 and 1, and if all runs agree, it is never narrower than the exact
    binomial interval of all clips (Clopper and Pearson 1934): five times 100 % of a thousand clips is 99.9 % or more,
    and twice 80 % of a hundred clips is 74 to 85 %.
    ``union`` is the number of different clips of all runs if they share some, ``floor`` is that of ``mean_interval``.
    Raises ValueError for fewer than two values.
    """
    mean, low, high = mean_interval(values, floor)
    total = union or clips * len(values)
    if min(mean, 1 - mean) * total <= NEAR_THE_END or len(set(values)) == 1:
        total = round(total / _excess(values, mean, clips))
        exact_interval = rate_interval(round(mean * total), total)
        low, high = min(low, exact_interval[0]), max(high, exact_interval[1])
    return Interval(mean, max(0.0, low), min(1.0, high))


def rate_interval(count: int, total: int) -> tuple[float, float]:
    """Return the exact 95 % interval of a rate (Clopper and Pearson 1934): for 0 of 5 it is 0 to 52 %."""
    low = float(betaincinv(count, total - count + 1, TAIL)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - TAIL)) if count < total else 1.0
    return low, high


def _excess(values: Sequence[float], mean: float, clips: int) -> float:
    """Return how many times more accuracies vary than by the draw of clips alone, but at least 1.

    A larger factor includes Student's for the uncertainty of the variance.
    """
    binomial_variance = mean * (1 - mean) / clips
    if statistics.variance(values) <= binomial_variance:
        return 1.0
    factor = float(stdtrit(len(values) - 1, 1 - TAIL)) / NORMAL
    return statistics.variance(values) / binomial_variance * factor**2


def tail_of_selected(untold: int) -> float:
    """Return the error at either end of a difference to the best, which the data selected among ``untold`` values.

    The values cannot be told apart, so the best one's luck is in all of its ``untold`` - 1 differences. Of all untold *
    (untold - 1) / 2 differences these are reported, so each gets 2 / untold of the error: the expected share of failing
    intervals among them is then at most the error (Benjamini and Yekutieli 2005, false coverage rate).
    """
    return min(1.0, 2 / untold) * TAIL


def robust_deviation(values: NDArray[np.float64], axis: int | None = None) -> Any:
    """Estimate the standard deviation of normal values from their median absolute deviation, whatever the outliers."""
    deviations = np.abs(values - np.median(values, axis=axis, keepdims=True))
    return MAD * np.median(deviations, axis=axis)


def percentile(samples: Sequence[float], q: int) -> float | None:
    """Return the 90th or 99th percentile, an order statistic, never interpolated; None with too few samples."""
    if len(samples) < SAMPLES_FOR_PERCENTILE[q]:
        return None
    return float(np.percentile(np.asarray(samples, dtype=float), q, method="higher"))


def percentile_bound(samples: Sequence[float], q: int) -> float | None:
    """Return an upper bound of the q-th percentile at 97.5 % confidence; None if the samples cannot bound it.

    It is the smallest order statistic that lies above the percentile with that confidence. The 90th percentile needs 36
    samples, the 99th 368.
    """
    n = len(samples)
    places = np.flatnonzero(bdtr(np.arange(n), n, q / 100) >= 1 - TAIL)
    return float(np.sort(samples)[places[0]]) if places.size else None


def ratio_interval(numerator: Interval, denominator: Interval) -> Interval:
    """Return numerator over denominator, both positive, with an interval made from their two intervals (MOVER).

    On the log scale the distances from each estimate to its bounds are added in quadrature (Zou and Donner 2008,
    "Construction of confidence limits about effect measures"). This needs no resampling, keeps asymmetric intervals
    asymmetric, and its coverage is simulated in the tests. The interval is unbounded if an input is.
    """
    ratio = numerator.median / denominator.median
    if min(numerator.low, denominator.low) <= 0:  # that of an unbounded interval is minus infinity
        return Interval(ratio, -math.inf, math.inf)
    above, below = math.log(numerator.high / numerator.median), math.log(numerator.median / numerator.low)
    up, down = math.log(denominator.high / denominator.median), math.log(denominator.median / denominator.low)
    return Interval(ratio, ratio * math.exp(-math.hypot(below, up)), ratio * math.exp(math.hypot(above, down)))
