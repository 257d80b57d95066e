"""How likely a configuration is to be on the front, given the noise of its latency and of its seeds.

Every objective is a table of draws (D, k): the same draw of seeds for all configurations, because runs of one seed
share clips, order and backbone. Lower is better in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
DRAWS = 2000


def on_front(points: ArrayLike, epsilon: ArrayLike = 0.0) -> Flags:
    """Which of the points (..., k, objectives) none dominates, as (..., k).

    One point dominates another when it is no worse anywhere and better by more than ``epsilon`` (one number, or one for
    each objective) somewhere: a tie within the noise floor does not dominate. Equal points all stay.
    """
    values = np.asarray(points, dtype=float)
    one, other = values[..., :, None, :], values[..., None, :, :]
    beaten = (other <= one).all(axis=-1) & (other < one - np.asarray(epsilon, dtype=float)).any(axis=-1)
    return np.asarray(~beaten.any(axis=-1))


def probability(objectives: Sequence[Floats], epsilon: ArrayLike = 0.0) -> Floats:
    """For each configuration the share of draws in which it is on the front; ``objectives`` are tables (D, k)."""
    points = np.stack([np.asarray(one, dtype=float) for one in objectives], axis=-1)
    chunk = max(1, 4_000_000 // max(1, points.shape[1] ** 2))
    parts = [on_front(points[i : i + chunk], epsilon) for i in range(0, len(points), chunk)]
    return np.asarray(np.concatenate(parts).mean(axis=0))


def seed_rows(seeds: int, rng: np.random.Generator, draws: int = DRAWS) -> NDArray[np.intp]:
    """Rows of seeds drawn with replacement, (D, seeds): one draw serves all configurations."""
    return rng.integers(0, seeds, (draws, seeds))


def means(by_seed: Floats, rows: NDArray[np.intp]) -> Floats:
    """Mean quality (D, k) over drawn seeds of a table (seeds, k).

    NaN stands for a run that was not sound; where a draw has no sound run, the mean over all seeds stands in.
    """
    drawn = by_seed[rows]
    known = ~np.isnan(drawn)
    count, total = known.sum(axis=1), np.where(known, drawn, 0.0).sum(axis=1)
    overall = np.nanmean(by_seed, axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), overall))


def medians(samples: Sequence[float], rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Bootstrap medians (D,) of samples, by their exact law instead of by resampling.

    A resample's k-th smallest is the sample at the k-th smallest of m uniform ranks, which is Beta(k, m + 1 - k); of an
    even number the two in the middle are drawn jointly.
    """
    ordered = np.sort(np.asarray(samples, dtype=float))
    m = len(ordered)
    lower = (m + 1) // 2
    rank = rng.beta(lower, m + 1 - lower, draws)
    low = ordered[np.minimum((rank * m).astype(int), m - 1)]
    if m % 2:
        return np.asarray(low)
    above = 1 - (1 - rank) * rng.beta(m - lower, 1, draws)
    return np.asarray((low + ordered[np.minimum((above * m).astype(int), m - 1)]) / 2)
