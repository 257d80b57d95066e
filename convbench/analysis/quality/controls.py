"""What quality is held against: tasks with something taken away, and linear readouts of untrained features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from convbench.analysis.quality.lessons import Frame, Lesson, frame_of, headless, lessons
from convbench.analysis.quality.rates import best_rate
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.record import Clip, Parts, Record

EAGER = "eager"


@dataclass(frozen=True)
class Control:
    """Test accuracies with something taken from the task.

    ``expected`` is what the best reader reaches that lacks it, None where nobody says. Dead
    runs are kept here: where nothing is left to learn, a constant answer is the right outcome.
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
    """What a linear readout finds in an architecture's untrained features: position (R²) and class, by seed.

    ``variant`` is what computed the features.
    """

    architecture: Parts
    clip: Clip
    where: Mapping[int, float]
    what: Mapping[int, float]
    variant: str = EAGER

    @property
    def frame(self) -> Frame:
        return frame_of(self.clip)


def controls(records: Iterable[Record]) -> list[Control]:
    """One entry for each task, architecture and control, at the learning rate with the best validation accuracy."""
    cells: dict[Hashable, list[Lesson]] = defaultdict(list)
    for one in lessons(records):
        if one.control and one.curve:
            cells[one.task, one.architecture, one.clip, one.control].append(one)
    return [_control(several) for several in cells.values()]


def linear_probes(records: Iterable[Record], *, in_variants: bool = False) -> list[LinearProbe]:
    """One entry for each architecture and clip shape that was probed without training.

    With ``in_variants`` also one for each variant whose features were read.
    """
    cells: dict[tuple[Parts, Clip, str], list[tuple[int, Record]]] = defaultdict(list)
    for record in records:
        case = record.case
        if case.trial and case.reads_out and record.status == "ok" and isinstance(case.architecture, Parts):
            cells[headless(case.architecture), case.clip, case.variant_name].append((case.trial.seed, record))
    return [
        LinearProbe(parts, clip, _by_seed(several, metrics.WHERE_R2), _by_seed(several, metrics.WHAT_ACCURACY), variant)
        for (parts, clip, variant), several in cells.items()
        if in_variants or variant == EAGER
    ]


def _control(several: Sequence[Lesson]) -> Control:
    rate = best_rate([(one, one.curve[-1].val) for one in several])
    chosen = sorted((one for one in several if one.learning_rate == rate), key=lambda one: one.seed)
    accuracies = {one.seed: one.curve[-1].test for one in chosen}
    first = chosen[0]
    name = str(first.control)
    expected = max(first.expected or 0.0, first.majority) if first.expected or name == "label-permutation" else None
    return Control(first.task, first.architecture, first.clip, name, accuracies, first.chance, first.majority, expected)


def _by_seed(several: Sequence[tuple[int, Record]], metric: Metric) -> dict[int, float]:
    ordered = sorted(several, key=lambda one: one[0])
    return {seed: record.samples(metric)[0] for seed, record in ordered if record.samples(metric)}
