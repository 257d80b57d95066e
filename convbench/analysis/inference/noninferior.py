"""Find the configurations that are shown to be within a margin of the best, at a stated error, from a few seeds.

The null hypothesis of a configuration is that the truly best one exceeds it by the margin or more. The best is unknown,
so non-inferiority is required against every other configuration (intersection-union: the p-value is the largest of the
one-sided t-tests, and needs no correction for selecting the best by data). No accuracy exceeds 1, so a configuration
that is surely within the margin of 1 also qualifies, however noisy others are; a tenth of the error is spent on that.
Holm's method corrects for testing many configurations and taking the cheapest one shown. One of k is the best, so at
most k - 1 nulls hold. Configurations whose estimate lies beyond the margin are discarded first, and the p-values of the
others are doubled for it (Zhao, Small and Su 2019), so that a much worse configuration costs the others nothing.
``two_way`` tells where means, errors and degrees of freedom come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.special import stdtr, stdtrit

from convbench.analysis.inference.arrays import Flags, Floats
from convbench.analysis.inference.clip_pool import covariance_of
from convbench.analysis.inference.seed_table import SeedTable
from convbench.analysis.inference.two_way import Estimates, fit
from convbench.core.statistics import tail_of_selected

ERROR = 0.05
CEILING_SHARE = 0.1
"""Share of the error that is spent on being near 1 rather than near the others."""

DISCARD_LEVEL = 0.5
"""Configurations with a p-value above this, whose estimate lies beyond the margin, are no candidates."""

LEAST_ERROR = 1.0
"""Least standard error of a mean accuracy, in test clips: equal numbers from all seeds do not make it exact."""

MOST_PAIRWISE = 3
"""Up to this many configurations are compared two by two: three tell too little about which one is noisy."""


@dataclass(frozen=True)
class Pairs:
    """All pairs of k configurations: ``gap[i, j]`` is how much better j is than i, as accuracies from 0 to 1.

    ``gap``, its standard error ``error`` and its degrees of freedom ``df`` are tables (k, k). ``floors`` (k, k) is the
    part of the squared ``error`` that no number of seeds removes. The other fields are (k,). ``headroom`` is how far a
    configuration is below 1, with its own error and degrees of freedom. ``runs`` counts a configuration's sound runs.
    ``own_error`` is its own part of the errors, with ``own_df``. Errors are infinite if there are too few seeds.
    """

    gap: Floats
    error: Floats
    df: Floats
    headroom: Floats
    headroom_error: Floats
    headroom_df: Floats
    runs: Floats
    own_error: Floats
    own_df: Floats
    floors: Floats


def pairs(table: SeedTable) -> Pairs:
    """Compare all configurations of a table with one another."""
    k, runs = table.values.shape[1], table.is_sound.sum(axis=0).astype(float)
    estimates = fit(table)
    gap, error, df = _contrasts(estimates)
    for pair in combinations(range(k), 2) if k <= MOST_PAIRWISE else ():
        index = np.ix_(pair, pair)
        gap[index], error[index], df[index] = _contrasts(fit(table.columns(pair)))
    noise = np.where(np.isfinite(estimates.noise), estimates.noise, 1.0)
    own_error = np.sqrt(noise / np.maximum(runs, 1) + np.diag(covariance_of(table.gap_floors)))
    return Pairs(gap, error, df, *_room(table), runs, own_error, estimates.df, table.gap_floors)


def _contrasts(estimates: Estimates) -> tuple[Floats, Floats, Floats]:
    """Return the gaps of all pairs of a fit, with their errors and degrees of freedom (Satterthwaite)."""
    variance = np.diag(estimates.covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance - 2 * estimates.covariance, 0.0))
    has_noise = np.isfinite(estimates.noise)
    noise = np.where(has_noise, estimates.noise, 1.0)
    df = (noise[:, None] + noise) ** 2 / (noise[:, None] ** 2 / estimates.df[:, None] + noise**2 / estimates.df)
    return estimates.mean - estimates.mean[:, None], np.where(has_noise & has_noise[:, None], error, np.inf), df


def _room(table: SeedTable) -> tuple[Floats, Floats, Floats]:
    """Return how far each configuration (k,) is below 1 by its own runs alone, with errors and degrees of freedom."""
    runs, values = table.is_sound.sum(axis=0), table.values
    variance = np.full(len(runs), np.inf)
    variance[runs > 1] = np.nanvar(values[:, runs > 1], axis=0, ddof=1)
    error = np.maximum(np.sqrt(variance / runs + table.floor), LEAST_ERROR / table.clips)
    return 1 - np.nanmean(values, axis=0), error, np.maximum(runs - 1, 1).astype(float)


def p_values(contrasts: Pairs, margin: float) -> Floats:
    """Return for each configuration (k,) the p-value of its being worse than the best by the margin or more."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (margin - contrasts.gap) / np.maximum(contrasts.error, 1e-12)
    p = stdtr(contrasts.df, -t)
    np.fill_diagonal(p, 0.0)
    below_all = p.max(axis=1) / (1 - CEILING_SHARE)
    below_one = stdtr(contrasts.headroom_df, -(margin - contrasts.headroom) / contrasts.headroom_error) / CEILING_SHARE
    return np.asarray(np.minimum(1.0, np.minimum(below_all, below_one)))


def shown_within(contrasts: Pairs, margin: float, error: float = ERROR) -> Flags:
    """Flag the configurations (k,) that are shown to be within the margin of the best, all at once at this error."""
    p = p_values(contrasts, margin)
    k = len(p)
    is_candidate = p <= DISCARD_LEVEL
    q = np.where(is_candidate, p / DISCARD_LEVEL, 1.0)
    order = np.argsort(q)
    nulls = is_candidate.sum() - np.arange(k)
    hurdles = error / np.maximum(np.minimum(nulls, k - 1), 1)
    is_shown = np.zeros(k, dtype=bool)
    is_shown[order] = np.logical_and.accumulate(q[order] <= hurdles)
    return is_shown


def hurdle(k: int, error: float) -> float:
    """Return the strictest level for a pair among k configurations; a pair with a p-value below it blocks nothing."""
    return error * DISCARD_LEVEL * (1 - CEILING_SHARE) / max(1, k - 1)


def shortfalls(contrasts: Pairs) -> Floats:
    """Return for each configuration (k,) the upper bound of how far the best is above it, by itself at 95 %."""
    bounds = _upper_bounds(contrasts, ERROR)
    np.fill_diagonal(bounds, 0.0)
    return np.asarray(bounds.max(axis=1))


def _upper_bounds(contrasts: Pairs, error: float) -> Floats:
    """Return upper bounds (k, k) of how much better each other configuration is, capped by this one's distance to 1."""
    gap = contrasts.gap + stdtrit(contrasts.df, 1 - (1 - CEILING_SHARE) * error) * contrasts.error
    room = contrasts.headroom + stdtrit(contrasts.headroom_df, 1 - CEILING_SHARE * error) * contrasts.headroom_error
    return np.asarray(np.minimum(gap, room[:, None]))


def count_untold(contrasts: Pairs, index: int) -> int:
    """Count the configurations, itself included, that are not told from this one as better or worse, each by itself."""
    half_width = stdtrit(contrasts.df[index], 1 - ERROR / 2) * contrasts.error[index]
    return int((np.abs(contrasts.gap[index]) <= half_width).sum())


def differences(contrasts: Pairs, index: int) -> tuple[Floats, Floats]:
    """Return bounds (k,) of how much better the others are than this one, which the data may have selected."""
    tail = tail_of_selected(count_untold(contrasts, index))
    low = contrasts.gap[index] - stdtrit(contrasts.df[index], 1 - tail) * contrasts.error[index]
    return low, _upper_bounds(contrasts, tail)[index]


def p_of_gain(contrasts: Pairs, base: int, other: int) -> float:
    """Return the one-sided p-value that ``other`` is no better than ``base``."""
    return float(
        stdtr(contrasts.df[base, other], -contrasts.gap[base, other] / max(contrasts.error[base, other], 1e-12))
    )
