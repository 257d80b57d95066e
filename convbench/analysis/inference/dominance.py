"""Estimate how likely a configuration is to be on the front, given the noise of its latency and of its seeds.

Each objective is a table of draws (D, k) that the data allow. Lower is better in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from convbench.analysis.inference.arrays import Flags, Floats


def on_front(points: ArrayLike) -> Flags:
    """Return which of the points (..., k, objectives) no other point dominates, as (..., k). Equal points all stay.

    It compares all pairs in all draws at once, which suits few points; ``costs.pareto.front`` is for one table of many.
    """
    values = np.asarray(points, dtype=float)
    point, rival = values[..., :, None, :], values[..., None, :, :]
    is_beaten = (rival <= point).all(axis=-1) & (rival < point).any(axis=-1)
    return np.asarray(~is_beaten.any(axis=-1))


def probability(objectives: Sequence[Floats]) -> Floats:
    """Return each configuration's share of draws in which it is on the front; ``objectives`` are tables (D, k)."""
    points = np.stack([np.asarray(table, dtype=float) for table in objectives], axis=-1)
    chunk = max(1, 4_000_000 // max(1, points.shape[1] ** 2))
    parts = [on_front(points[i : i + chunk]) for i in range(0, len(points), chunk)]
    return np.asarray(np.concatenate(parts).mean(axis=0))
