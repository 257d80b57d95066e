"""Collect what quality is compared with: tasks with something removed, and linear readouts of untrained features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from convbench.analysis.quality.lessons import Lesson, headless, lessons
from convbench.analysis.quality.rates import best_rate
from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.metric import Metric
from convbench.core.record import EAGER, Clip, Parts, Record


@dataclass(frozen=True)
class ControlledRuns:
    """Test accuracies by seed on a task with something removed.

    ``expected`` is what the best possible reader reaches without it; None if the task does not say. Dead runs are kept
    here: if nothing is left to learn, a constant answer is the right outcome.
    """

    task: str
    architecture: Parts
    clip: Clip
    control: str
    by_seed: Mapping[int, float]
    chance: float | None
    majority: float
    expected: float | None = None


@dataclass(frozen=True)
class LinearProbe:
    """What a linear readout finds in an architecture's untrained features, by seed: position (R²) and class.

    ``variant`` is the variant that computed the features.
    """

    architecture: Parts
    clip: Clip
    where: Mapping[int, float]
    what: Mapping[int, float]
    variant: str = EAGER


def controls(records: Iterable[Record]) -> list[ControlledRuns]:
    """Return one entry per task, architecture, clip shape and control, at the learning rate that validates best."""
    runs = (lesson for lesson in lessons(records) if lesson.control and lesson.curve)
    cells = grouped(runs, lambda lesson: (lesson.task, lesson.architecture, lesson.clip, lesson.control))
    return [_control(members) for members in cells.values()]


def linear_probes(records: Iterable[Record], *, in_variants: bool = False) -> list[LinearProbe]:
    """Return one entry per architecture and clip shape that was probed without training.

    With ``in_variants``, also return one per variant whose features were read.
    """
    cells: dict[tuple[Parts, Clip, str], list[tuple[int, Record]]] = defaultdict(list)
    for record in records:
        case = record.case
        if case.trial and case.reads_out and record.status == "ok" and isinstance(case.architecture, Parts):
            cells[headless(case.architecture), case.clip, case.variant_name].append((case.trial.seed, record))
    return [
        LinearProbe(parts, clip, _readings(runs, metrics.WHERE_R2), _readings(runs, metrics.WHAT_ACCURACY), variant)
        for (parts, clip, variant), runs in cells.items()
        if in_variants or variant == EAGER
    ]


def _control(members: Sequence[Lesson]) -> ControlledRuns:
    rate = best_rate(members)
    runs = sorted((lesson for lesson in members if lesson.learning_rate == rate), key=lambda lesson: lesson.seed)
    accuracies = {lesson.seed: lesson.curve[-1].test for lesson in runs}
    run = runs[0]
    name = str(run.control)
    expected = max(run.expected or 0.0, run.majority) if run.expected else None
    return ControlledRuns(run.task, run.architecture, run.clip, name, accuracies, run.chance, run.majority, expected)


def _readings(runs: Sequence[tuple[int, Record]], metric: Metric) -> dict[int, float]:
    runs = sorted(runs, key=lambda run: run[0])
    return {seed: record.samples(metric)[0] for seed, record in runs if record.samples(metric)}
