"""Whether a large LSTM input overfits: the gap between training and test accuracy, by the number of clips."""

from __future__ import annotations

import re

from convbench.analysis.claims.claim import Curve, Judgement, Lacking, Number, Plot, Point, claim
from convbench.analysis.claims.evidence import TRAIN, Evidence, left_out
from convbench.analysis.claims.paired import (
    MOST,
    Difference,
    by_verdict,
    gains,
    mean_difference,
    pair_difference,
    verdict_of,
)
from convbench.analysis.quality.qualities import Quality
from convbench.core.text import joined

DIAL = re.compile(r"(\w+)\(train_clips=(\d+)\)")
TaskCell = tuple[str, int, str]
"""A cell's label, its number of training clips, and its task as the run names it."""


@claim(
    6,
    "So large an input overfits",
    quote="The sheer number of parameters within the LSTM required to handle such a high-dimensional input often leads "
    "to overfitting and extended training times.",
    prediction="The gap between training and test accuracy is larger with flatten than with GAP, in most tasks and "
    "numbers of training clips, as “often” says.",
    experiment="The same small backbone with flatten and with GAP, trained on each task, and on identity with fewer "
    "clips; training less test accuracy, paired by seed.",
)
def overfits(evidence: Evidence) -> Judgement:
    pairs = _pairs(evidence)
    if not pairs:
        raise Lacking(f"Trainings of flatten and GAP are needed: {TRAIN}.")
    gaps = {cell: tuple(_gaps(evidence, quality) for quality in pair) for cell, pair in pairs.items()}
    differences = [pair_difference(cell[0], flatten, gap) for cell, (flatten, gap) in gaps.items()]
    accuracy = [pair_difference(cell[0], flatten.by_seed, gap.by_seed) for cell, (flatten, gap) in pairs.items()]
    exclusions = left_out(quality for pair in pairs.values() for quality in pair)
    return judge(differences, accuracy, exclusions, _plot(gaps))


def judge(
    gaps: list[Difference], accuracy: list[Difference], exclusions: tuple[Number, ...] = (), plot: Plot | None = None
) -> Judgement:
    """Judge whether flatten's gap is larger in some, most and all cells; the claim's "often" is read as most."""
    numbers = [difference.number(f"{difference.where}: train-test gap, flatten less GAP") for difference in gaps]
    numbers += [difference.number(f"{difference.where}: test accuracy, flatten less GAP") for difference in accuracy]
    better_tasks = [difference.where for difference in accuracy if difference.is_shown]
    why = f"A larger gap with flatten is {by_verdict(gaps)}."
    if better_tasks:
        why += f" Overfitting is not all: flatten has the higher test accuracy on {joined(better_tasks)}."
    verdicts = gains(gaps)
    return Judgement(verdict_of(MOST, verdicts), why, (*numbers, *exclusions), plot, verdicts)


def _pairs(evidence: Evidence) -> dict[TaskCell, tuple[Quality, Quality]]:
    """Return flatten and GAP on the tasks, also those with fewer clips, on which both have two sound runs."""
    pairs = {}
    for task in dict.fromkeys(quality.task for quality in evidence.qualities):
        dial = DIAL.fullmatch(task)
        reducers = {
            str(quality.architecture.reducer): quality
            for quality in evidence.on(task).values()
            if not quality.architecture.layer_norm
        }
        if (dial or "(" not in task) and {"flatten", "gap"} <= reducers.keys():
            clips = int(dial[2]) if dial else evidence.train_clips
            cell = (f"{dial[1] if dial else task} ({clips:,} clips)", clips, task)
            pairs[cell] = (reducers["flatten"], reducers["gap"])
    return dict(sorted(pairs.items(), key=lambda item: (item[0][2].partition("(")[0], item[0][1])))


def _gaps(evidence: Evidence, quality: Quality) -> dict[int, float]:
    """Return training less test accuracy at the end, by seed, of the sound runs at the chosen learning rate."""
    key = (quality.architecture, quality.clip, quality.task, quality.learning_rate)
    return {
        lesson.seed: lesson.train - lesson.curve[-1].test
        for lesson in evidence.lessons
        if (lesson.architecture, lesson.clip, lesson.task, lesson.learning_rate) == key
        and lesson.seed in quality.by_seed
        and lesson.curve
    }


def _plot(gaps: dict[TaskCell, tuple[dict[int, float], ...]]) -> Plot | None:
    """Return the gaps on identity by the number of clips; None if there are fewer than two numbers."""
    dial = {cell: pair for cell, pair in gaps.items() if cell[2].startswith("identity")}
    if len(dial) < 2:
        return None
    curves = [
        Curve(name, tuple(Point.of(cell[1], _mean_gap(pair[i])) for cell, pair in dial.items()))
        for i, name in enumerate(("flatten", "gap"))
    ]
    return Plot(
        "The gap on identity by training clips",
        "How to read this: training less test accuracy, means over seeds with 95 % intervals; higher is more "
        "overfitting.",
        ("Training clips", "clips"), ("Training less test accuracy, in points", "points"), tuple(curves),
    )  # fmt: skip


def _mean_gap(values: dict[int, float]) -> Number:
    return mean_difference("identity", list(values.values())).number("")
