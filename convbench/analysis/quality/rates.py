"""The learning rate, chosen on validation accuracy alone, at the end of training in eager."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from convbench.analysis.quality.lessons import Lesson
from convbench.core.grouping import grouped
from convbench.core.record import EAGER, Clip, Parts

Model = tuple[Parts, Clip, str, str | None]
"""What has a learning rate of its own: an architecture, on clips of a shape, a task and its control."""


def by_rate(members: Sequence[Lesson]) -> dict[float, float]:
    """Mean validation accuracy of every learning rate, over the seeds that each was tried from; by rising rate.

    Over all seeds where no seed is common. A run that failed counts with chance.
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
    """The rate with the highest mean, the lower one of equals."""
    grid = by_rate(members)
    return max(grid, key=lambda rate: (grid[rate], -rate))


def best_rates(lessons: Iterable[Lesson]) -> dict[Model, float]:
    """The best rate of every model that was trained."""
    eager_lessons = (lesson for lesson in lessons if lesson.variant == EAGER)
    models = grouped(eager_lessons, lambda lesson: (lesson.architecture, lesson.clip, lesson.task, lesson.control))
    return {model: best_rate(members) for model, members in models.items()}
