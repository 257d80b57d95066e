"""Read training runs from records: one lesson per run, with a curve that can be cut at any budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from convbench.analysis.inference.clip_pool import ClipAnswers
from convbench.analysis.quality.convergence import late_fall
from convbench.analysis.results import typical
from convbench.core import metrics
from convbench.core.findings import DEAD_RUN, TEST_CLIPS_KNOWN, UNCONVERGED
from convbench.core.grouping import grouped
from convbench.core.record import EAGER, Clip, Parts, Record, Training, Trial

Budget = Literal["steps", "flops", "seconds"]
Flag = Literal["dead", "unconverged", "failed"]

FLAGS: Mapping[str, Flag] = {DEAD_RUN: "dead", UNCONVERGED: "unconverged"}
CURVE = (
    metrics.STEPS, metrics.TRAIN_FLOPS, metrics.TRAIN_SECONDS, metrics.VAL_ACCURACY, metrics.TEST_ACCURACY
)  # fmt: skip


class Checkpoint(NamedTuple):
    """One point of a learning curve: the steps, FLOPs and seconds spent so far, and the accuracies there."""

    steps: float
    flops: float
    seconds: float
    val: float
    test: float


@dataclass(frozen=True)
class Lesson:
    """One training run of an architecture (``head`` None) on a task, from a seed, at a learning rate.

    ``variant`` is how the trained model was run for its evaluation, eager by default. ``train`` is the accuracy on the
    training clips at the end. ``majority`` is the accuracy of always naming the commonest class of the ``clips`` test
    clips. ``answers`` are the answers to these clips if seeds draw them from one pool. ``expected`` is what the best
    possible reader reaches under the control. ``knows_test_clips`` says that the run learned from some of the test
    clips. A run that failed has no curve.
    """

    architecture: Parts
    clip: Clip
    task: str
    seed: int
    learning_rate: float
    control: str | None
    flag: Flag | None
    curve: tuple[Checkpoint, ...]
    train: float
    majority: float
    classes: int
    clips: int = 1000
    answers: ClipAnswers | None = None
    expected: float | None = None
    variant: str = EAGER
    knows_test_clips: bool = False

    @property
    def constant(self) -> float:
        """The accuracy of the best constant answer: chance, or the share of the commonest class."""
        return max(self.chance or 0.0, self.majority)

    @property
    def seconds(self) -> float:
        """Seconds that the training took; 0 without a curve."""
        return self.curve[-1].seconds if self.curve else 0.0

    @property
    def chance(self) -> float | None:
        """One over the number of classes; None if a run failed before it reported that number."""
        return 1 / self.classes if self.classes else None

    def at(self, budget: Budget = "steps", limit: float | None = None) -> Checkpoint | None:
        """Return the last checkpoint within the limit, or the end without a limit; None if there is none."""
        checkpoints = [
            checkpoint
            for checkpoint in self.curve
            if limit is None or getattr(checkpoint, budget) <= limit * (1 + 1e-9)
        ]
        return checkpoints[-1] if checkpoints else None


def headless(parts: Parts) -> Parts:
    """Return the architecture without its head, which belongs to the task."""
    return replace(parts, head=None)


def lessons(records: Iterable[Record]) -> list[Lesson]:
    """Return every training run that did not fail, controls included, in the order of the records."""
    return [lesson for lesson in attempts(records) if lesson.flag != "failed"]


def attempts(records: Iterable[Record]) -> list[Lesson]:
    """Return every training run, failed ones included, except those that the machine had to skip."""
    pairs = ((record, training_of(record)) for record in records if record.status != "skipped")
    return [_lesson(record, *run) for record, run in pairs if run]


def equal_limits(records: Iterable[Record], budget: Budget) -> dict[tuple[str, Clip], float]:
    """Return, for each task and clip shape, the largest value of this budget that all of its runs reached.

    Curves that are cut there have spent the same.
    """
    runs = (lesson for lesson in lessons(records) if lesson.curve and not lesson.control)
    questions = grouped(runs, lambda lesson: (lesson.task, lesson.clip))
    return {key: min(getattr(lesson.curve[-1], budget) for lesson in members) for key, members in questions.items()}


def training_of(record: Record) -> tuple[Parts, Trial, float] | None:
    """Return the architecture, trial and learning rate of a training run; None for any other record."""
    case = record.case
    if case.trial is None or case.trial.learning_rate is None:
        return None
    return (case.architecture, case.trial, case.trial.learning_rate) if isinstance(case.architecture, Parts) else None


def _lesson(record: Record, parts: Parts, trial: Trial, rate: float) -> Lesson:
    curve = tuple(map(Checkpoint, *map(record.samples, CURVE)))
    flag = _flag(record)
    train, majority, classes = (
        typical(record, metric) or 0.0 for metric in (metrics.TRAIN_ACCURACY, metrics.MAJORITY, metrics.CLASSES)
    )
    if flag is None and curve and late_fall(record.samples(metrics.TRAIN_LOSS), train, curve[-1].val) is not None:
        # a run of an earlier version, which had no such finding
        flag = "unconverged"
    return Lesson(
        headless(parts), record.case.clip, str(trial.task), trial.seed, rate, trial.control, flag,
        curve, train, majority, int(classes), int(typical(record, metrics.TEST_CLIPS) or 0) or Training().test_clips,
        _answers(record),
        typical(record, metrics.CONTROL_EXPECTED) or None, record.case.variant_name,
        any(finding.code == TEST_CLIPS_KNOWN for finding in record.findings),
    )  # fmt: skip


def _answers(record: Record) -> ClipAnswers | None:
    sources, right, pool = map(record.samples, (metrics.TEST_SOURCES, metrics.TEST_RIGHT, metrics.POOL))
    return ClipAnswers(tuple(map(int, sources)), tuple(map(bool, right)), int(pool[0])) if sources else None


def _flag(record: Record) -> Flag | None:
    if record.status == "failed":
        return "failed"
    flags = {FLAGS[finding.code] for finding in record.findings if finding.code in FLAGS}
    return "dead" if "dead" in flags else next(iter(flags), None)
