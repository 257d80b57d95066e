"""Summarise what architectures learn of tasks: training runs grouped into one quality per configuration.

Runs that collapsed or failed are counted and named, never averaged in. Runs that were still learning are averaged in,
and named. The learning rate is chosen on validation accuracy; test accuracy is only reported. Pure functions of
records.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np

from convbench.analysis.inference.clip_pool import BySeed, count_tested, floor_of_mean, floors_of_gaps
from convbench.analysis.inference.seed_table import SeedTable
from convbench.analysis.quality.collapse import fallen_seeds, is_at_chance
from convbench.analysis.quality.lessons import Budget, Lesson, attempts, headless, training_of
from convbench.analysis.quality.rates import Model, best_rate, best_rates, by_rate
from convbench.analysis.results import Result, measured_results
from convbench.core.grouping import grouped
from convbench.core.record import EAGER, Clip, Parts, Record
from convbench.core.statistics import Interval, accuracy_interval, rate_interval

Limit = float | Mapping[tuple[str, Clip], float] | None
"""Where to cut curves: at one limit for all tasks, at a limit by task name and clip, or nowhere."""


@dataclass(frozen=True)
class Quality:
    """What one architecture learns of one task, at the learning rate that validation chose.

    ``by_seed`` is the test accuracy of the sound runs at that rate. Two kinds of runs collapsed: ``dead`` ones name one
    class, ``fallen`` ones are at chance or far below the others. ``failed`` ones ended without an accuracy.
    ``unconverged`` counts sound runs that were still learning. They are in the mean, which more steps would raise.

    ``by_rate`` is the mean validation accuracy of every rate tried, at the end of training. A dead run counts there
    with the accuracy it reached and a failed one as chance, so that a rate that kills runs cannot win by its survivors.
    ``train`` is the mean training accuracy of the sound runs at their end. ``clips`` counts the test clips of a run.
    ``answers`` are the sound runs' answers to them if all seeds draw from one pool. ``seconds`` is the mean time
    of a training. ``several_places`` says that other qualities of the task have another backbone or another LSTM, and
    ``knows_test_clips`` that a sound run learned from some of the test clips.
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
    fallen: int = 0
    clips: int = 1000
    answers: BySeed = field(default_factory=dict)
    seconds: float = 0.0
    variant: str = EAGER
    several_places: bool = False
    knows_test_clips: bool = False

    @property
    def spread(self) -> float:
        """How much the learning rate matters: the greatest less the least value of ``by_rate``."""
        return max(self.by_rate.values()) - min(self.by_rate.values())

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None

    @property
    def interval(self) -> Interval | None:
        """The mean and its 95 % interval over seeds, within 0 and 1; None with fewer than two seeds."""
        if len(self.by_seed) < 2:
            return None
        tested_clips = count_tested(self.answers) or self.clips * len(self.by_seed)
        return accuracy_interval(list(self.by_seed.values()), self.clips, tested_clips, self.floor)

    @cached_property
    def floor(self) -> float:
        """The part of the mean's variance that no number of seeds removes."""
        return floor_of_mean(self.answers)

    @property
    def collapsed(self) -> int:
        return self.dead + self.fallen

    @property
    def ended(self) -> int:
        """Runs that ended with an accuracy, sound or collapsed."""
        return len(self.by_seed) + self.collapsed

    @property
    def collapse_interval(self) -> tuple[float, float] | None:
        """The exact 95 % interval of how often a run collapses; None if no run ended."""
        return rate_interval(self.collapsed, self.ended) if self.ended else None

    @property
    def rate_edge(self) -> Literal["lowest", "highest"] | None:
        """The end of the grid that the chosen rate lies at; None elsewhere, or if the rate is perfect.

        Beyond that end there may be a better rate.
        """
        rates = list(self.by_rate)
        if (
            len(rates) < 2
            or self.by_rate.get(self.learning_rate) == 1
            or self.learning_rate not in (rates[0], rates[-1])
        ):
            return None
        return "lowest" if self.learning_rate == rates[0] else "highest"


def has_training(records: Iterable[Record]) -> bool:
    """Whether any record is of a training run, whatever its result; runs that the machine had to skip do not count."""
    return any(record.status != "skipped" and training_of(record) for record in records)


def qualities(
    records: Sequence[Record], budget: Budget = "steps", limit: Limit = None, *, in_variants: bool = False
) -> list[Quality]:
    """Return one quality per architecture, clip shape and task; curves are cut at ``limit`` of ``budget``. No controls.

    With ``in_variants``, also return one per variant in which the trained model was evaluated.
    """
    runs = (lesson for lesson in attempts(records) if not lesson.control and (in_variants or lesson.variant == EAGER))
    cells = grouped(runs, lambda lesson: (lesson.architecture, lesson.clip, lesson.task, lesson.variant))
    rates = best_rates(chain.from_iterable(cells.values()))
    summaries = [_quality(members, rates, budget, limit) for members in cells.values()]
    mixed_cells = {cell for cell, members in by_task(summaries).items() if len(set(map(_place, members))) > 1}
    return [replace(quality, several_places=(quality.task, quality.clip) in mixed_cells) for quality in summaries]


def _place(quality: Quality) -> Hashable:
    return quality.architecture.backbone, quality.architecture.rnn


def by_task(members: Iterable[Quality]) -> dict[tuple[str, Clip], list[Quality]]:
    """Group qualities that may be compared: those of the same task and clip shape."""
    return grouped(members, lambda quality: (quality.task, quality.clip))


def task_name(task: str, clip: Clip | None, several_clips: bool) -> str:
    """Return the task's name, with the clip if there are several."""
    return f"{task} on {clip}" if several_clips else task


def seed_table(members: Sequence[Quality]) -> SeedTable:
    """Build the table of test accuracies by seed, NaN for runs that are not sound.

    It takes the smallest number of test clips of these qualities, and the variance that no number of seeds removes.
    """
    seeds = sorted({seed for quality in members for seed in quality.by_seed})
    values = [[quality.by_seed.get(seed, np.nan) for quality in members] for seed in seeds]
    table = SeedTable.of(values, min(quality.clips for quality in members))
    floor = np.array([quality.floor for quality in members])
    return table._replace(floor=floor, gap_floors=floors_of_gaps([quality.answers for quality in members]))


def costs_of(quality: Quality, results: Iterable[Result]) -> list[Result]:
    """Return the measured inference costs of a quality's architecture on frames of the same shape.

    They are of any variant and device.
    """
    return [
        result
        for result in measured_results(results)
        if result.case.scenario == "inference"
        and isinstance(result.case.architecture, Parts)
        and headless(result.case.architecture) == quality.architecture
        and _frame(result.case.clip) == _frame(quality.clip)
    ]


def _frame(clip: Clip) -> tuple[int, int, int]:
    """Return (C, H, W), which an architecture's size and its cost per frame depend on."""
    return (clip.channels, clip.height, clip.width)


def _quality(members: Sequence[Lesson], rates: Mapping[Model, float], budget: Budget, limit: Limit) -> Quality:
    """Summarise runs at the learning rate chosen in eager, where each seed was trained; any variant may run them."""
    example = next((lesson for lesson in members if lesson.flag != "failed"), members[0])
    cell_limit = limit.get((example.task, example.clip)) if isinstance(limit, Mapping) else limit
    pairs = [(lesson, lesson.at(budget, cell_limit)) for lesson in members]
    rate = rates.get((example.architecture, example.clip, example.task, None)) or best_rate(members)
    runs = sorted(
        ((lesson, end) for lesson, end in pairs if lesson.learning_rate == rate), key=lambda pair: pair[0].seed
    )
    ends = {lesson.seed: (lesson, end.test) for lesson, end in runs if end and lesson.flag not in ("dead", "failed")}
    collapsed_seeds = _collapsed_seeds(ends, example.chance or 0.0, example.clips)
    sound_runs = {seed: end for seed, end in ends.items() if seed not in collapsed_seeds}
    flags = [lesson.flag for lesson, _ in runs]
    return Quality(
        example.architecture, example.clip, example.task, rate,
        by_seed={seed: test for seed, (_, test) in sound_runs.items()},
        train=statistics.fmean(lesson.train for lesson, _ in sound_runs.values()) if sound_runs else None,
        dead=flags.count("dead"), failed=flags.count("failed"),
        unconverged=sum(lesson.flag == "unconverged" for lesson, _ in sound_runs.values()),
        by_rate=by_rate(members), chance=example.chance, majority=example.majority if example.classes else None,
        fallen=len(collapsed_seeds), clips=example.clips,
        answers={seed: lesson.answers for seed, (lesson, _) in sound_runs.items() if lesson.answers},
        seconds=statistics.fmean([lesson.seconds for lesson, _ in ends.values()] or [0.0]),
        variant=example.variant, knows_test_clips=any(lesson.knows_test_clips for lesson, _ in sound_runs.values()),
    )  # fmt: skip


def _collapsed_seeds(ends: Mapping[int, tuple[Lesson, float]], chance: float, clips: int) -> set[int]:
    """Return the seeds whose runs are at chance, and those that fall far below the others."""
    seeds = {seed for seed, (lesson, test) in ends.items() if is_at_chance(test, lesson.constant, lesson.clips)}
    return seeds | fallen_seeds({seed: test for seed, (_, test) in ends.items() if seed not in seeds}, chance, clips)
