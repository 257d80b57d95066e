"""Test whether configurations differ at all beyond what seeds do, and tell how large a difference would show."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import fdtrc, stdtrit

from convbench.analysis.inference.arrays import Floats
from convbench.analysis.inference.noninferior import ERROR, Pairs
from convbench.analysis.inference.two_way import is_connected

POWER = 0.8


def p_value(accuracies: Floats, floor: float = 0.0) -> float:
    """Return the p-value of no difference between the columns of a table (seeds, k); NaN marks runs that are not sound.

    This is the F-test of configurations in the model configuration + seed. The model need not be balanced: a missing
    run removes only its own cell. For a complete table it equals the test of a randomised block design, for two columns
    the paired t-test. If shared seeds do not connect the columns, seeds count as noise. The result is 1 if no degree of
    freedom is left. ``floor`` is the part of a mean's variance that no number of seeds removes.
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
    if not floor and squares <= 1e-15 * max(block_squares, 1e-12):
        return float(block_squares <= 1e-12)
    noise = squares / error_df + floor * len(row) / k  # the floor of a mean, times its number of runs
    explained_squares = max(block_squares - squares, 0.0)  # rounding can make it negative, and the p-value NaN
    return float(fdtrc(effect_df, error_df, explained_squares / effect_df / noise))


def _residual(design: Floats, values: Floats) -> tuple[float, int]:
    """Return the sum of squares that a linear model leaves, and its rank."""
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    return float(((values - design @ solution) ** 2).sum()), int(rank)


def detectable(contrasts: Pairs) -> float:
    """Return the difference between two configurations that these seeds detect in four of five cases.

    It is the median over pairs, and holds for one pair by itself; comparing many at once takes a larger difference. It
    is infinite if they do not even detect a difference of 1, the largest between two accuracies.
    """
    upper = np.triu_indices(contrasts.gap.shape[-1], 1)
    df, spread = contrasts.df[upper], contrasts.error[upper]
    difference = float(np.median((stdtrit(df, 1 - ERROR / 2) + stdtrit(df, POWER)) * spread))
    return difference if difference <= 1 else math.inf
