"""What architectures learn of tasks: training runs gathered into one quality a configuration.

A run that died (one class predicted), failed or had not converged is counted and named, never averaged in. The learning
rate is chosen on validation accuracy; test accuracy is only reported. Pure functions over records.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from convbench.analysis.choice.dominance import Floats
from convbench.analysis.quality.controls import Control, LinearProbe, controls, linear_probes
from convbench.analysis.quality.lessons import (
    Budget,
    Checkpoint,
    Flag,
    Frame,
    Lesson,
    attempts,
    equal_limits,
    frame_of,
    headless,
    lessons,
    trained,
)
from convbench.analysis.quality.rates import best_rate, by_rate
from convbench.analysis.results import Result
from convbench.core.record import Clip, Parts, Record
from convbench.core.statistics import Interval, mean_interval

__all__ = [
    "Budget", "Checkpoint", "Control", "Flag", "Frame", "Lesson", "LinearProbe", "Quality",
    "by_task", "controls", "costs_of", "equal_limits", "lessons", "linear_probes", "qualities", "seed_table", "tried",
]  # fmt: skip

Limit = float | Mapping[str, float] | None
"""Where curves are cut: for all tasks, by the task's name, or nowhere."""


@dataclass(frozen=True)
class Quality:
    """What one architecture learns of one task, at the learning rate that validation chose.

    ``by_seed`` is the test accuracy of the sound runs at that rate, empty where every one died, failed or had not
    converged. ``by_rate`` is the mean validation accuracy of every rate tried: there a dead run counts with what it
    reached, a failed or cut-off one as chance, so that a rate that kills runs cannot win by its survivors. ``train`` is
    the mean training accuracy of the sound runs, at their end.
    """

    architecture: Parts
    clip: Clip
    task: str
    learning_rate: float
    by_seed: Mapping[int, float]
    train: float | None
    dead: int
    unconverged: int
    failed: int
    by_rate: Mapping[float, float]
    chance: float | None
    majority: float | None

    @property
    def frame(self) -> Frame:
        return frame_of(self.clip)

    @property
    def spread(self) -> float:
        """How far apart the learning rates are: the greatest less the least of ``by_rate``."""
        return max(self.by_rate.values()) - min(self.by_rate.values())

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None

    @property
    def sd(self) -> float | None:
        """Between seeds; None with fewer than two."""
        return statistics.stdev(self.by_seed.values()) if len(self.by_seed) > 1 else None

    @property
    def interval(self) -> Interval | None:
        """The mean and its 95 % t-interval over seeds, within 0 and 1; None with fewer than two."""
        if len(self.by_seed) < 2:
            return None
        mean, low, high = mean_interval(list(self.by_seed.values()))
        return Interval(mean, max(0.0, low), min(1.0, high))


def tried(records: Iterable[Record]) -> bool:
    """Whether any of these records is of a training run, whatever became of it."""
    return any(trained(record) for record in records)


def qualities(records: Sequence[Record], budget: Budget = "steps", limit: Limit = None) -> list[Quality]:
    """One quality for each architecture, clip shape and task, curves cut at ``limit`` of ``budget``; no controls."""
    cells: dict[Hashable, list[Lesson]] = defaultdict(list)
    for one in attempts(records):
        if not one.control:
            cells[one.architecture, one.clip, one.task].append(one)
    return [_quality(several, budget, limit) for several in cells.values()]


def by_task(found: Iterable[Quality]) -> dict[tuple[str, Clip], list[Quality]]:
    """Qualities gathered by what may be compared: a task and a clip shape."""
    cells: dict[tuple[str, Clip], list[Quality]] = defaultdict(list)
    for one in found:
        cells[one.task, one.clip].append(one)
    return cells


def seed_table(several: Sequence[Quality]) -> Floats:
    """Test accuracies as a table (seeds, configurations), NaN where a run was not sound."""
    seeds = sorted({seed for one in several for seed in one.by_seed})
    return np.array([[one.by_seed.get(seed, np.nan) for one in several] for seed in seeds], dtype=float)


def costs_of(quality: Quality, results: Iterable[Result]) -> list[Result]:
    """The measured costs of a quality's architecture on frames of the same shape: any variant and device."""
    return [one for one in results if _same_model(one, quality)]


def _same_model(one: Result, quality: Quality) -> bool:
    case = one.case
    if case.trial or case.scenario != "inference" or one.record.status != "ok":
        return False
    return (
        isinstance(case.architecture, Parts)
        and headless(case.architecture) == quality.architecture
        and frame_of(case.clip) == quality.frame
    )


def _quality(several: Sequence[Lesson], budget: Budget, limit: Limit) -> Quality:
    first = next((one for one in several if one.flag != "failed"), several[0])
    at = limit.get(first.task) if isinstance(limit, Mapping) else limit
    ends = [(one, one.at(budget, at)) for one in several]
    reached = [(one, end.val) for one, end in ends if end]
    reached += [(one, first.chance or 0.0) for one, end in ends if not end]
    rate = best_rate(reached)
    chosen = [(one, end) for one, end in ends if one.learning_rate == rate]
    sound = [(one, end) for one, end in chosen if one.flag is None and end]
    flags = [one.flag for one, _ in chosen]
    return Quality(
        first.architecture, first.clip, first.task, rate,
        by_seed={one.seed: end.test for one, end in sorted(sound, key=lambda pair: pair[0].seed)},
        train=statistics.fmean(one.train for one, _ in sound) if sound else None,
        dead=flags.count("dead"), unconverged=flags.count("unconverged"), failed=flags.count("failed"),
        by_rate=by_rate(reached), chance=first.chance, majority=first.majority if first.classes else None,
    )  # fmt: skip
