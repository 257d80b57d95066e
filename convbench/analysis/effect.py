"""Whether configurations differ at all, beyond what seeds do; and how large a difference could have been seen."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtr, stdtrit

from convbench.analysis.dominance import Floats
from convbench.analysis.noninferior import Pairs

PERMUTATIONS = 1999
POWER = 0.8


def p_value(by_seed: Floats, rng: np.random.Generator) -> float:
    """The p-value of no difference between the columns of a table (seeds, k), paired by seed.

    Of three or more: accuracies are permuted within each seed, and the spread of the means compared. Two columns allow
    too few permutations to be significant, so they are compared by the paired t-test. Seeds that not every column has
    are left out, or the columns that lack them where too few seeds would remain.
    """
    table = _complete(by_seed)
    n, k = table.shape
    if k < 2 or n < 2:
        return 1.0
    if k == 2:
        return _paired(table[:, 1] - table[:, 0])
    order = rng.random((PERMUTATIONS, n, k)).argsort(axis=-1)
    permuted = np.take_along_axis(np.broadcast_to(table, order.shape), order, axis=-1)
    spread, observed = permuted.mean(axis=1).var(axis=-1), table.mean(axis=0).var()
    return float((1 + (spread >= observed * (1 - 1e-12)).sum()) / (1 + PERMUTATIONS))


def detectable(found: Pairs, error: float = 0.05) -> float:
    """The difference between two configurations that these seeds show in four of five cases (median over pairs)."""
    upper = np.triu_indices(found.gap.shape[-1], 1)
    df, spread = found.df[upper], found.error[upper]
    return float(np.median((stdtrit(df, 1 - error / 2) + stdtrit(df, POWER)) * spread))


def _paired(differences: Floats) -> float:
    n = len(differences)
    error = differences.std(ddof=1) / np.sqrt(n)
    if error == 0:
        return float(differences.mean() == 0)
    return float(2 * stdtr(n - 1, -abs(differences.mean()) / error))


def _complete(by_seed: Floats) -> Floats:
    whole = ~np.isnan(by_seed)
    rows = whole.all(axis=1)
    return by_seed[rows] if rows.sum() >= 3 else by_seed[:, whole.all(axis=0)]
