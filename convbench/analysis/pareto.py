"""The cases that nothing comparable beats in both of two costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from convbench.analysis.results import Group, Result


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the non-dominated points (lower is better in both), by rising x; equal points all stay."""
    best, kept = float("inf"), []
    last = (float("inf"), float("inf"))
    for index in sorted(range(len(points)), key=lambda i: points[i]):
        if points[index][1] < best or points[index] == last:
            kept.append(index)
            best, last = points[index][1], points[index]
    return kept


def fronts(found: Sequence[Result], x: str, y: str) -> dict[Group, list[Result]]:
    """The front of each comparable group in two costs; cases that lack either are left out."""
    groups: dict[Group, list[tuple[float, float, Result]]] = defaultdict(list)
    for one in found:
        across, up = one.cost(x), one.cost(y)
        if across is not None and up is not None:
            groups[one.group].append((across, up, one))
    return {
        group: [members[i][2] for i in front([member[:2] for member in members])] for group, members in groups.items()
    }
