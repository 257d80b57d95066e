"""Whether configurations differ at all, beyond what seeds do; and how large a difference could have been seen."""

from __future__ import annotations

import numpy as np
from scipy.special import fdtrc, stdtrit

from convbench.analysis.inference.arrays import Floats
from convbench.analysis.inference.noninferior import ERROR, Pairs
from convbench.analysis.inference.two_way import is_connected

POWER = 0.8


def p_value(accuracies: Floats, floor: float = 0.0) -> float:
    """The p-value of no difference between the columns of a table (seeds, k), NaN where there is no sound run.

    The F-test of configurations in the model configuration + seed, which need not be balanced: a missing run
    removes only its own cell. Of a complete table it is that of a randomised block design, of two columns the paired
    t-test. Where columns share no seed, seeds are noise. 1 where no degree of freedom is left. ``floor`` is
    what no number of seeds takes from the variance of a mean.
    """
    table = accuracies[:, (~np.isnan(accuracies)).any(axis=0)]
    is_sound = ~np.isnan(table)
    seeds, k = np.nonzero(is_sound.any(axis=1))[0], table.shape[1]
    row, column = np.nonzero(is_sound)
    blocks = (row[:, None] == seeds) if is_connected(is_sound) else np.ones((len(row), 1), dtype=bool)
    design = np.hstack([blocks, column[:, None] == np.arange(k)]).astype(float)
    block_squares, block_rank = _residual(design[:, : blocks.shape[1]], table[is_sound])
    squares, rank = _residual(design, table[is_sound])
    error_df, effect_df = len(row) - rank, rank - block_rank
    if effect_df < 1 or error_df < 1:
        return 1.0
    if squares <= 1e-15 * max(block_squares, 1e-12):
        return float(block_squares <= 1e-12)
    noise = squares / error_df + floor * len(row) / k  # of a mean over as many runs as a column has
    return float(fdtrc(effect_df, error_df, (block_squares - squares) / effect_df / noise))


def _residual(design: Floats, values: Floats) -> tuple[float, int]:
    """The sum of squares that a linear model leaves, and its rank."""
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return float(((values - design @ solution) ** 2).sum()), int(rank)


def detectable(contrasts: Pairs) -> float:
    """The difference between two configurations that these seeds show in four of five cases (median over pairs).

    A figure for one pair by itself: where many are compared at once more is needed.
    """
    upper = np.triu_indices(contrasts.gap.shape[-1], 1)
    df, spread = contrasts.df[upper], contrasts.error[upper]
    return float(np.median((stdtrit(df, 1 - ERROR / 2) + stdtrit(df, POWER)) * spread))
