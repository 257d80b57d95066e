"""Which configurations are shown to be within a margin of the best, at a stated error, from a few paired seeds.

The null hypothesis of a configuration is that the truly best exceeds it by the margin or more. Which one is best is not
known, so non-inferiority is required against every other (intersection-union: the p-value is the largest of its
one-sided paired t-tests, which needs no correction for the best having been selected by data). No accuracy exceeds 1,
so a configuration that is surely within the margin of 1 will do too, however noisy others are: a tenth of the error is
spent on that. That many configurations are tested, and the cheapest shown is taken, is corrected by Holm's method; one
of k is the best, so at most k - 1 nulls hold. Those whose estimate lies beyond the margin are discarded first and the
others' p-values doubled for it (Zhao, Small and Su 2019): what is far worse costs the others nothing.
Three to five seeds say little of a variance, so those of the pairs are moderated as in Smyth 2004 ("Linear models and
empirical Bayes methods"): shrunk together as far as they agree, and left alone where they do not.
``tests/bench/advice.py`` simulates what error and power result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma, stdtr, stdtrit

from convbench.analysis.choice.dominance import Flags, Floats

ERROR = 0.05
ON_THE_CEILING = 0.1
"""The share of the error spent on being near 1 rather than near the others."""

DISCARDED = 0.5
"""p-values above it, those of estimates beyond the margin, are no candidates."""

LEAST_ERROR = 1e-3
"""Of a mean accuracy: that all seeds gave the same number does not make it exact."""


@dataclass(frozen=True)
class Pairs:
    """All pairs of k configurations: ``gap[..., i, j]`` is how much better j is than i, with its standard error.

    ``df`` are the degrees of freedom. Pairs with fewer than two seeds in common have an infinite error. ``room`` is how
    far each configuration is below 1, with an error and degrees of freedom of its own.
    """

    gap: Floats
    error: Floats
    df: Floats
    room: Floats
    room_error: Floats
    room_df: Floats


def pairs(by_seed: Floats) -> Pairs:
    """Paired comparisons of a table (..., seeds, k) of accuracies, NaN where a run was not sound."""
    n, gap, variance = _moments(by_seed[..., None, :] - by_seed[..., :, None], axis=-3)
    df = np.maximum(n - 1, 1).astype(float)
    variance, df = moderate(variance, df, cap=df.max(axis=(-1, -2)) * (by_seed.shape[-1] - 1))
    error = np.where(n > 1, np.sqrt(variance / np.maximum(n, 1)), np.inf)
    return Pairs(gap, error, df, *_room(by_seed))


def _room(by_seed: Floats) -> tuple[Floats, Floats, Floats]:
    n, mean, variance = _moments(by_seed, axis=-2)
    error = np.maximum(np.sqrt(variance / np.maximum(n, 1)), LEAST_ERROR)
    return 1 - mean, np.where(n > 1, error, np.inf), np.maximum(n - 1, 1).astype(float)


def _moments(values: Floats, axis: int) -> tuple[Floats, Floats, Floats]:
    """How many values along an axis are no NaN, their mean, and their variance, NaN of fewer than two."""
    known = ~np.isnan(values)
    n = known.sum(axis=axis)
    mean = np.where(known, values, 0.0).sum(axis=axis) / np.maximum(n, 1)
    squares = np.where(known, values - np.expand_dims(mean, axis), 0.0) ** 2
    return n, mean, np.where(n > 1, squares.sum(axis=axis) / np.maximum(n - 1, 1), np.nan)


def moderate(variance: Floats, df: Floats, cap: Floats) -> tuple[Floats, Floats]:
    """Variances (..., k, k) shrunk towards their common value, and their degrees of freedom, at most ``cap``.

    Fewer than three pairs are left as they are. Smyth 2004, section 6.2.
    """
    upper = np.triu_indices(variance.shape[-1], 1)
    if len(upper[0]) < 3:
        return variance, df
    own, freedom = variance[..., upper[0], upper[1]], df[..., upper[0], upper[1]]
    unknown = np.isnan(own).all(axis=-1, keepdims=True)
    typical = np.maximum(np.nanmedian(np.where(unknown, 0.0, own), axis=-1, keepdims=True), 1e-7)
    own = np.maximum(np.where(np.isnan(own), typical, own), 1e-5 * typical)
    logs = np.log(own) - digamma(freedom / 2) + np.log(freedom / 2)
    excess = logs.var(axis=-1, ddof=1) - polygamma(1, freedom / 2).mean(axis=-1)
    prior = np.where(excess > 0, 2 * _trigamma_inverse(np.maximum(excess, 1e-6)), 1e6)
    common = np.exp(logs.mean(axis=-1) + digamma(prior / 2) - np.log(prior / 2))
    prior, common = prior[..., None, None], common[..., None, None]
    return (prior * common + df * variance) / (prior + df), np.minimum(prior + df, np.asarray(cap)[..., None, None])


def p_values(found: Pairs, margin: float) -> Floats:
    """For each configuration (..., k) the p-value of its being worse than the best by the margin or more."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (margin - found.gap) / np.maximum(found.error, 1e-12)
    p = stdtr(found.df, -t)
    p[..., range(p.shape[-1]), range(p.shape[-1])] = 0.0
    below_all = p.max(axis=-1) / (1 - ON_THE_CEILING)
    below_one = stdtr(found.room_df, -(margin - found.room) / found.room_error) / ON_THE_CEILING
    return np.asarray(np.minimum(1.0, np.minimum(below_all, below_one)))


def shown(found: Pairs, margin: float, error: float = ERROR) -> Flags:
    """Which configurations (..., k) are shown to be within the margin of the best, all at once at this error."""
    p = p_values(found, margin)
    k = p.shape[-1]
    candidates = p <= DISCARDED
    q = np.where(candidates, p / DISCARDED, 1.0)
    order = np.argsort(q, axis=-1)
    left = candidates.sum(axis=-1, keepdims=True) - np.arange(k)
    hurdles = error / np.maximum(np.minimum(left, k - 1), 1)
    passed = np.logical_and.accumulate(np.take_along_axis(q, order, axis=-1) <= hurdles, axis=-1)
    result = np.zeros(p.shape, dtype=bool)
    np.put_along_axis(result, order, passed, axis=-1)
    return result


def shortfalls(found: Pairs, error: float = ERROR) -> Floats:
    """For each configuration (k,) the upper bound of how far the best may be above it, by itself at this error."""
    bound = found.gap + stdtrit(found.df, 1 - error) * found.error
    bound[..., range(bound.shape[-1]), range(bound.shape[-1])] = 0.0
    return np.asarray(bound.max(axis=-1))


def p_of_gain(found: Pairs, one: int, other: int) -> float:
    """One-sided: that ``other`` is no better than ``one``."""
    return float(stdtr(found.df[one, other], -found.gap[one, other] / max(found.error[one, other], 1e-12)))


def _trigamma_inverse(values: Floats) -> Floats:
    """The argument at which trigamma takes these values, by Newton's method (Smyth 2004, appendix)."""
    y = 0.5 + 1 / values
    for _ in range(30):
        trigamma = polygamma(1, y)
        y = y + trigamma * (1 - trigamma / values) / polygamma(2, y)
    return np.asarray(y)
