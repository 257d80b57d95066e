"""How likely a configuration is to be on the front, given the noise of its latency and of its seeds.

Every objective is a table of draws (D, k), of what the data allow. Lower is better in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from convbench.analysis.inference.arrays import Flags, Floats


def on_front(points: ArrayLike, epsilon: ArrayLike = 0.0) -> Flags:
    """Which of the points (..., k, objectives) none dominates, as (..., k).

    One point dominates another when it is no worse anywhere and better by more than ``epsilon`` (one number, or one for
    each objective) somewhere: a tie within the noise floor does not dominate. Equal points all stay.
    """
    values = np.asarray(points, dtype=float)
    point, rival = values[..., :, None, :], values[..., None, :, :]
    beaten = (rival <= point).all(axis=-1) & (rival < point - np.asarray(epsilon, dtype=float)).any(axis=-1)
    return np.asarray(~beaten.any(axis=-1))


def probability(objectives: Sequence[Floats], epsilon: ArrayLike = 0.0) -> Floats:
    """For each configuration the share of draws in which it is on the front; ``objectives`` are tables (D, k)."""
    points = np.stack([np.asarray(table, dtype=float) for table in objectives], axis=-1)
    chunk = max(1, 4_000_000 // max(1, points.shape[1] ** 2))
    parts = [on_front(points[i : i + chunk], epsilon) for i in range(0, len(points), chunk)]
    return np.asarray(np.concatenate(parts).mean(axis=0))
