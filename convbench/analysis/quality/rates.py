"""Choose the learning rate on validation accuracy alone, at the end of training in eager."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from convbench.analysis.quality.lessons import Lesson
from convbench.core.grouping import grouped
from convbench.core.record import EAGER, Clip, Parts

Model = tuple[Parts, Clip, str, str | None]
"""What has a learning rate of its own: an architecture on a clip shape, a task, and its control or None."""


def by_rate(members: Sequence[Lesson]) -> dict[float, float]:
    """Return the mean validation accuracy of each learning rate over the seeds that all rates share; by rising rate.

    If they share none, each rate is averaged over its own seeds. A run that failed counts as chance.
    """
    chance = next((lesson.chance for lesson in members if lesson.chance), 0.0)
    rates: dict[float, dict[int, float]] = defaultdict(dict)
    for lesson in members:
        rates[lesson.learning_rate][lesson.seed] = lesson.curve[-1].val if lesson.curve else chance
    common_seeds = set.intersection(*(set(seeds) for seeds in rates.values()))
    return {
        rate: statistics.fmean(value for seed, value in rates[rate].items() if not common_seeds or seed in common_seeds)
        for rate in sorted(rates)
    }


def best_rate(members: Sequence[Lesson]) -> float:
    """Return the rate with the highest mean; of equal ones, the lowest."""
    grid = by_rate(members)
    return max(grid, key=lambda rate: (grid[rate], -rate))


def best_rates(lessons: Iterable[Lesson]) -> dict[Model, float]:
    """Return the best rate of every model that was trained."""
    eager_lessons = (lesson for lesson in lessons if lesson.variant == EAGER)
    models = grouped(eager_lessons, lambda lesson: (lesson.architecture, lesson.clip, lesson.task, lesson.control))
    return {model: best_rate(members) for model, members in models.items()}
