"""Compare every configuration with the best one of a task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from convbench.analysis.claims.claim import Lacking, Number
from convbench.analysis.claims.evidence import TRAIN, Evidence
from convbench.analysis.claims.paired import MARGIN, Difference
from convbench.analysis.inference.noninferior import differences, pairs, shortfalls
from convbench.analysis.quality.qualities import Quality, seed_table
from convbench.core.statistics import rate_interval
from convbench.core.text import joined

LEAST_SIZE = 3
COLLAPSE_RATE = 0.1
"""Share of seeds; a configuration that surely collapses in more of them falls short."""


class Shortfall(NamedTuple):
    """How far a configuration is below the best one on a task.

    ``size`` is its LSTM input. ``short`` is the gap, with its 95 % interval over ``n`` seeds (``below``). ``bound`` is
    how far it may be below whichever is best, at 95 % (``noninferior``). All of these are of seeds that learnt;
    ``collapsed`` of ``ended`` seeds did not.
    """

    name: str
    size: int
    short: float
    low: float
    high: float
    n: int
    bound: float
    collapsed: int = 0
    ended: int = 0

    @property
    def suffices(self) -> bool:
        return self.bound < MARGIN and not self.unreliable

    @property
    def falls_short(self) -> bool:
        """Whether it is shown to be below the best by more than the margin, or collapses in more than one seed of ten.

        If some seeds learn and others do not, the interval of their mean excludes nothing, so collapses are counted.
        """
        return self.is_below or self.unreliable

    @property
    def is_below(self) -> bool:
        """Whether the seeds that learnt are shown to be below the best by more than the margin."""
        return self.low > MARGIN

    @property
    def unreliable(self) -> bool:
        return collapses(self.collapsed, self.ended)

    def number(self, task: str) -> Number:
        return Number(f"{task}: {self.name} below the best", self.short, "points", self.low, self.high, self.n)


def collapses(collapsed: int, ended: int) -> bool:
    """Whether a configuration is shown to collapse in more than one seed of ten."""
    return bool(ended) and rate_interval(collapsed, ended)[0] > COLLAPSE_RATE


Standings = Mapping[str, list[Shortfall]]
"""The shortfalls of all configurations, by task."""


def standings(evidence: Evidence) -> dict[str, list[Shortfall]]:
    """Compare every configuration with the best, by task.

    Raises Lacking if no task has at least three of them with flatten among them.
    """
    group_by_task = {task: _shortfalls(evidence.on(task)) for task in evidence.tasks}
    by_task = {
        task: group
        for task, group in group_by_task.items()
        if len(group) >= LEAST_SIZE and any(standing.name.startswith("flatten") for standing in group)
    }
    if not by_task:
        raise Lacking(f"Trainings of flatten and of at least two smaller inputs are needed: {TRAIN}.")
    return by_task


def collapse_list(tasks: Standings) -> str:
    """List the configurations that collapse too often to suffice, whatever their mean; empty without any.

    For example ``gap 64 on direction (3 of 5 seeds)``.
    """
    texts = [
        f"{standing.name} on {task} ({standing.collapsed} of {standing.ended} seeds)"
        for task, group in tasks.items()
        for standing in group
        if standing.unreliable
    ]
    return joined(texts) if texts else ""


def qualities_on(evidence: Evidence, tasks: Standings) -> list[Quality]:
    return [quality for quality in evidence.qualities if quality.task in tasks]


def below(task: str, pool: Sequence[Quality], among: int | None = None) -> list[Difference | None]:
    """Return how far each of a pool is below the best of its first ``among`` (default: all), at 95 %.

    The same seeds select that best one. The bounds allow for the luck of the selection, as those of a pick do
    (``noninferior.differences``). None if the sound seeds are too few to tell.
    """
    contrasts = pairs(seed_table(pool))
    best_index = int(np.argmax(contrasts.gap[0, :among]))
    low, high = differences(contrasts, best_index)
    counts = [min(len(quality.by_seed), len(pool[best_index].by_seed)) for quality in pool]
    return [
        Difference(task, float(contrasts.gap[i, best_index]), -float(high[i]), -float(low[i]), counts[i])
        if counts[i] > 1 and math.isfinite(low[i])
        else None
        for i in range(len(pool))
    ]


def _shortfalls(qualities: Mapping[str, Quality]) -> list[Shortfall]:
    if len(qualities) < 2:
        return []
    pool = list(qualities.values())
    gaps, bounds = below(pool[0].task, pool), shortfalls(pairs(seed_table(pool)))
    return [
        Shortfall(
            label,
            quality.architecture.lstm_input or 0,
            *(gap.mean, gap.low, gap.high, gap.n),
            float(bound),
            quality.collapsed,
            quality.ended,
        )
        for (label, quality), gap, bound in zip(qualities.items(), gaps, bounds, strict=True)
        if gap
    ]
