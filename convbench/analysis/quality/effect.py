"""Whether configurations differ at all, beyond what seeds do; and how large a difference could have been seen."""

from __future__ import annotations

import numpy as np
from scipy.special import fdtrc, stdtrit

from convbench.analysis.choice.dominance import Floats
from convbench.analysis.choice.noninferior import Pairs

POWER = 0.8


def p_value(by_seed: Floats) -> float:
    """The p-value of no difference between the columns of a table (seeds, k): the F-test of a randomised block design.

    Seeds are the blocks; of two columns it is the paired t-test. Permuting within seeds would assume less, but three
    seeds of three configurations allow so few permutations that not even a gulf between them is significant. Seeds
    that not every column has are left out, or the columns that lack them where too few seeds would remain.
    """
    table = _complete(by_seed)
    n, k = table.shape
    if k < 2 or n < 2:
        return 1.0
    columns = table.mean(axis=0, keepdims=True)
    residuals = table - columns - table.mean(axis=1, keepdims=True) + table.mean()
    between, within = n * columns.var() * k / (k - 1), (residuals**2).sum() / ((n - 1) * (k - 1))
    if within == 0:
        return float(between == 0)
    return float(fdtrc(k - 1, (n - 1) * (k - 1), between / within))


def detectable(found: Pairs, error: float = 0.05) -> float:
    """The difference between two configurations that these seeds show in four of five cases (median over pairs)."""
    upper = np.triu_indices(found.gap.shape[-1], 1)
    df, spread = found.df[upper], found.error[upper]
    return float(np.median((stdtrit(df, 1 - error / 2) + stdtrit(df, POWER)) * spread))


def _complete(by_seed: Floats) -> Floats:
    whole = ~np.isnan(by_seed)
    rows = whole.all(axis=1)
    return by_seed[rows] if rows.sum() >= 3 else by_seed[:, whole.all(axis=0)]
