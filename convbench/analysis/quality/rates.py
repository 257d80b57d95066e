"""The learning rate, chosen on validation accuracy alone."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from convbench.analysis.quality.lessons import Lesson


def by_rate(reached: Sequence[tuple[Lesson, float]]) -> dict[float, float]:
    """Mean validation accuracy of every learning rate, given what each run reached; by rising rate."""
    rates: dict[float, list[float]] = defaultdict(list)
    for lesson, accuracy in reached:
        rates[lesson.learning_rate].append(accuracy)
    return {rate: statistics.fmean(rates[rate]) for rate in sorted(rates)}


def best_rate(reached: Sequence[tuple[Lesson, float]]) -> float:
    """The rate with the highest mean, the lower one of equals."""
    grid = by_rate(reached)
    return max(grid, key=lambda rate: (grid[rate], -rate))
