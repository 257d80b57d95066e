"""How likely a configuration is to be on the front, given the noise of its latency and of its seeds.

Every objective is a table of draws (D, k), of what the data allow. Lower is better in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from convbench.analysis.inference.arrays import Flags, Floats


def on_front(points: ArrayLike) -> Flags:
    """Which of the points (..., k, objectives) none dominates, as (..., k). Equal points all stay.

    All draws at once, comparing all pairs: for few points. ``costs.pareto.front`` is for one table of many.
    """
    values = np.asarray(points, dtype=float)
    point, rival = values[..., :, None, :], values[..., None, :, :]
    is_beaten = (rival <= point).all(axis=-1) & (rival < point).any(axis=-1)
    return np.asarray(~is_beaten.any(axis=-1))


def probability(objectives: Sequence[Floats]) -> Floats:
    """For each configuration the share of draws in which it is on the front; ``objectives`` are tables (D, k)."""
    points = np.stack([np.asarray(table, dtype=float) for table in objectives], axis=-1)
    chunk = max(1, 4_000_000 // max(1, points.shape[1] ** 2))
    parts = [on_front(points[i : i + chunk]) for i in range(0, len(points), chunk)]
    return np.asarray(np.concatenate(parts).mean(axis=0))
