"""Configurations compared from whatever runs there are: accuracy = configuration + seed + noise of its own.

Seeds bring the same clips, order and backbone to all, so a seed is an effect of its own and cancels; a run that is
lost takes only itself away, because the model need not be balanced. The steps:

1. weights from each configuration's noise; means and seeds by weighted least squares;
2. each configuration's noise from its residuals, over the degrees of freedom that its leverages leave;
3. that noise moderated as in Smyth 2004 ("Linear models and empirical Bayes methods"): three seeds say little of a
   variance, so those of all are shrunk together as far as they agree, and one that stands out is left alone (Phipson
   et al. 2016, "Robust hyperparameter estimation"); and again from 1 until it stands still.

``tests/bench/advice.py`` simulates what error and power result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc

from convbench.analysis.inference.arrays import Flags, Floats
from convbench.analysis.inference.pool import covariance_of
from convbench.analysis.inference.seed_table import SeedTable
from convbench.core.spread import Prior, fit_prior

ROUNDS = 15


class Fit(NamedTuple):
    """Means (k,) of configurations, up to a common constant where seeds differ, with the covariance (k, k) of their
    contrasts; ``noise`` are the variances of one run and ``df`` their degrees of freedom."""

    mean: Floats
    covariance: Floats
    noise: Floats
    df: Floats


def fit(table: SeedTable) -> Fit:
    """The model on a table in which each configuration has one run at least.

    Where configurations share no seed, directly or through others, a seed is noise like any other.
    """
    observed = table.observed
    values = np.where(observed, table.values, 0.0)
    paired = connected(observed)
    noise, df = np.full(values.shape[1], 1.0), np.zeros(values.shape[1])
    for _ in range(ROUNDS):
        _, _, residuals, left = _solve(values, observed, 1 / noise, paired)
        before, (noise, df) = noise, moderated((residuals**2).sum(axis=0), left, table.least)
        if not np.isfinite(noise).all() or np.allclose(before, noise, rtol=1e-3):
            break
    weight = 1 / np.where(np.isfinite(noise), noise, 1.0)
    mean, covariance, *_ = _solve(values, observed, weight, paired)
    return Fit(mean, covariance + covariance_of(table.gap_floors), noise, df)


def connected(observed: Flags) -> bool:
    """Whether seeds in common lead from every configuration to every other."""
    shares = (observed.T.astype(int) @ observed.astype(int)) > 0
    reached = shares[0]
    for _ in range(len(shares)):
        reached = shares[reached].any(axis=0) | reached
    return bool(reached.all())


def _solve(values: Floats, observed: Flags, weight: Floats, paired: bool) -> tuple[Floats, Floats, Floats, Floats]:
    """Means, the covariance of their contrasts, residuals and the degrees of freedom left to each configuration."""
    weights = observed * weight
    if not paired:
        count = observed.sum(axis=0)
        mean = values.sum(axis=0) / count
        return mean, np.diag(1 / (weight * count)), observed * (values - mean), np.maximum(count - 1.0, 0.0)
    total = weights.sum(axis=1)
    mask = total > 0
    weights, values, observed, total = weights[mask], values[mask], observed[mask], total[mask]
    share = weights / total[:, None]
    normal = np.diag(weights.sum(axis=0)) - weights.T @ share
    covariance = np.linalg.pinv(normal, hermitian=True, rcond=1e-9)
    seed = (share * values).sum(axis=1)
    mean = covariance @ (weights * (values - seed[:, None])).sum(axis=0)
    residuals = observed * (values - mean - (seed - share @ mean)[:, None])
    apart = np.eye(len(weight))[None] - share[:, None, :]
    spread = np.einsum("jia,ab,jib->ji", apart, covariance, apart)
    leverage = weights * (1 / total[:, None] + spread)
    return mean, covariance, residuals, (observed - leverage).sum(axis=0)


def moderated(squares: Floats, df: Floats, least: Floats | float = 0.0) -> tuple[Floats, Floats]:
    """Variances (k,), ``least`` or more, and their degrees of freedom from sums of squares and those that were left."""
    usable = df > 0.25
    if not usable.any():
        return np.full(len(squares), np.inf), np.full(len(squares), 1.0)
    own = np.where(usable, np.maximum(squares / np.maximum(df, 1e-9), least), np.nan)
    freedom = np.where(usable, df, 0.0)
    prior, common = _prior(own[usable], freedom[usable])
    weight = np.full(len(squares), prior)
    weight[usable] *= _alike(own[usable] / common, freedom[usable], prior)
    variance = (weight * common + freedom * np.where(usable, own, 0.0)) / np.maximum(weight + freedom, 1e-9)
    unknown = weight + freedom < 0.25
    return np.where(unknown, np.nanmax(own), variance), np.maximum(weight + freedom, 0.5)


def _alike(ratio: Floats, df: Floats, prior: float) -> Floats:
    """For each variance over the common one how much of the common one it takes: less where it stands out above.

    Squared, so that what stands out a little takes little: linear, a noisy one of few seeds passed for a quiet one more
    often (``tests/bench/advice.py``, four seeds, two noisy).
    """
    return np.minimum(1.0, 2 * fdtrc(df, max(prior, 1.0), ratio)) ** 2


def _prior(own: Floats, df: Floats) -> Prior:
    """The common variance, never worth more than what all the others could tell of it; the pooled one of two."""
    if len(own) < 3:
        return Prior(0.0, float(np.average(own, weights=df)))
    return fit_prior(own, df, most=float(df.sum() - df.max()) / 2)
