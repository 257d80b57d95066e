"""Find Pareto fronts: of points, of comparable cases, and how likely a point of noisy values is on one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from convbench.analysis.costs.likeness import Alike, likeness
from convbench.analysis.inference.arrays import Flags, Floats
from convbench.analysis.results import Result
from convbench.core.metric import Metric


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """Return indices of the points that no other dominates, by rising first coordinate; lower is better in all.

    Points have any number of coordinates; one with NaN is not on the front. Equal points do not dominate one another:
    all of them stay. For 10,000 points this takes 2 ms; comparing all pairs, as ``on_front`` does for few, takes 5 s.
    """
    if not len(points):
        return []
    values = np.asarray(points, dtype=float)
    order = np.lexsort(values.T[::-1])
    order = order[~np.isnan(values[order]).any(axis=1)]
    indices: list[int] = []
    while order.size:
        point, remainder = values[order[0]], values[order]
        is_equal = (remainder == point).all(axis=1)
        indices += order[is_equal].tolist()
        order = order[~(remainder >= point).all(axis=1)]
    return indices


def fronts(results: Sequence[Result], x: Metric, y: Metric) -> dict[Alike, list[Result]]:
    """Return the front of each group of alike cases in two metrics, best in ``x`` first.

    Cases that lack either metric are left out. Empty if a metric has no better direction.
    """
    if "neither" in (x.better, y.better):
        return {}
    groups: dict[Alike, list[tuple[float, float, Result]]] = defaultdict(list)
    for result in results:
        x_value, y_value = result.value(x), result.value(y)
        if x_value is not None and y_value is not None:
            groups[likeness(result)].append((x.sign * x_value, y.sign * y_value, result))
    return {
        group: [members[i][2] for i in front([member[:2] for member in members])] for group, members in groups.items()
    }


def on_front(points: ArrayLike) -> Flags:
    """Return which of the points (..., k, objectives) no other point dominates, as (..., k). Equal points all stay.

    It compares all pairs in all draws at once, which suits few points; ``front`` is for one table of many.
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
