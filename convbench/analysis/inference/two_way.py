"""Compare configurations from whatever runs there are, by the model accuracy = configuration + seed + own noise.

A seed brings the same clips, order and backbone to all configurations, so its effect cancels. The model need not be
balanced, so a lost run removes only itself. The steps:

1. Weight each configuration by its noise, and estimate means and seeds by weighted least squares.
2. Estimate each configuration's noise from its residuals, over the degrees of freedom that its leverages leave.
3. Moderate that noise as in Smyth 2004 ("Linear models and empirical Bayes methods"): three seeds say little of a
   variance, so all variances are shrunk together as far as they agree, and one that stands out is left alone (Phipson
   et al. 2016, "Robust hyperparameter estimation"). Repeat from 1 until the noise settles.

``tests/bench/advice.py`` simulates the error and power that result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc

from convbench.analysis.inference.arrays import Flags, Floats
from convbench.analysis.inference.clip_pool import covariance_of
from convbench.analysis.inference.seed_table import SeedTable
from convbench.core.spread import Prior, fit_prior

ROUNDS = 15
DIGITS = 12
"""Decimal places of a mean. Errors of the solution, which differ between machines, are smaller."""


class Estimates(NamedTuple):
    """Means (k,) of configurations, up to a common constant if seeds differ.

    ``covariance`` (k, k) is that of their contrasts; ``noise`` (k,) are the variances of one run, and ``df`` (k,) their
    degrees of freedom.
    """

    mean: Floats
    covariance: Floats
    noise: Floats
    df: Floats


def fit(table: SeedTable) -> Estimates:
    """Fit the model to a table in which each configuration has at least one run.

    If shared seeds do not connect all configurations, directly or through others, a seed is noise like any other.
    """
    is_sound = table.is_sound
    values = np.where(is_sound, table.values, 0.0)
    is_paired = is_connected(is_sound)
    noise, df = np.full(values.shape[1], 1.0), np.zeros(values.shape[1])
    for _ in range(ROUNDS):
        _, _, residuals, residual_df = _solve(values, is_sound, 1 / noise, is_paired)
        previous_noise, (noise, df) = noise, moderate((residuals**2).sum(axis=0), residual_df, table.least_variance)
        if not np.isfinite(noise).all() or np.allclose(previous_noise, noise, rtol=1e-3):
            break
    weight = 1 / np.where(np.isfinite(noise), noise, 1.0)
    mean, covariance, *_ = _solve(values, is_sound, weight, is_paired)
    mean = mean.round(DIGITS)  # configurations that are equally good must tie, on whichever machine this is solved
    return Estimates(mean, covariance + covariance_of(table.gap_floors), noise, df)


def is_connected(is_sound: Flags) -> bool:
    """Whether shared seeds lead from every configuration to every other."""
    links = (is_sound.T.astype(int) @ is_sound.astype(int)) > 0
    is_reached = links[0]
    for _ in range(len(links)):
        is_reached = links[is_reached].any(axis=0)
    return bool(is_reached.all())


def _solve(values: Floats, is_sound: Flags, weight: Floats, is_paired: bool) -> tuple[Floats, Floats, Floats, Floats]:
    """Return means, the covariance of their contrasts, residuals, and the degrees of freedom of each configuration."""
    weights = is_sound * weight
    if not is_paired:
        count = is_sound.sum(axis=0)
        mean = values.sum(axis=0) / count
        return mean, np.diag(1 / (weight * count)), is_sound * (values - mean), np.maximum(count - 1.0, 0.0)
    total = weights.sum(axis=1)
    mask = total > 0
    weights, values, is_sound, total = weights[mask], values[mask], is_sound[mask], total[mask]
    share = weights / total[:, None]
    normal = np.diag(weights.sum(axis=0)) - weights.T @ share
    covariance = np.linalg.pinv(normal, hermitian=True, rcond=1e-9)
    seed = (share * values).sum(axis=1)
    mean = covariance @ (weights * (values - seed[:, None])).sum(axis=0)
    residuals = is_sound * (values - mean - (seed - share @ mean)[:, None])
    through = share @ covariance
    spread = np.diag(covariance) - 2 * through + (through * share).sum(axis=1)[:, None]
    leverage = weights * (1 / total[:, None] + spread)
    return mean, covariance, residuals, (is_sound - leverage).sum(axis=0)


def moderate(squares: Floats, df: Floats, least_variance: Floats | float = 0.0) -> tuple[Floats, Floats]:
    """Return moderated variances (k,) and their degrees of freedom, from sums of squares and their degrees of freedom.

    Each variance is at least ``least_variance`` before it is moderated.
    """
    is_usable = df > 0.25
    if not is_usable.any():
        return np.full(len(squares), np.inf), np.full(len(squares), 1.0)
    variances = np.where(is_usable, np.maximum(squares / np.maximum(df, 1e-9), least_variance), np.nan)
    usable_df = np.where(is_usable, df, 0.0)
    prior, common = _prior(variances[is_usable], usable_df[is_usable])
    weight = np.full(len(squares), prior)
    weight[is_usable] *= _similarity(variances[is_usable] / common, usable_df[is_usable], prior)
    variance = (weight * common + usable_df * np.where(is_usable, variances, 0.0)) / np.maximum(
        weight + usable_df, 1e-9
    )
    is_unknown = weight + usable_df < 0.25
    return np.where(is_unknown, np.nanmax(variances), variance), np.maximum(weight + usable_df, 0.5)


def _similarity(ratio: Floats, df: Floats, prior: float) -> Floats:
    """Return, for each variance over the common one, how much of the common one it takes: less if it stands out above.

    Squared, so that a variance that stands out a little takes little. With a linear share, a noisy configuration of few
    seeds passed for a quiet one more often (``tests/bench/advice.py``, four seeds, two noisy).
    """
    return np.minimum(1.0, 2 * fdtrc(df, max(prior, 1.0), ratio)) ** 2


def _prior(variances: Floats, df: Floats) -> Prior:
    """Estimate the common variance and its weight: at most half of what the others tell, none with fewer than three."""
    if len(variances) < 3:
        return Prior(0.0, float(np.average(variances, weights=df)))
    return fit_prior(variances, df, most=float(df.sum() - df.max()) / 2)
