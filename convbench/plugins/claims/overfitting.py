"""Whether a large LSTM input overfits: the gap between training and test accuracy, by how many clips there are."""

from __future__ import annotations

import re

from convbench.analysis.claims.claim import Curve, Judgement, Lacking, Number, Plot, Point, claim
from convbench.analysis.claims.evidence import TRAIN, Evidence, left_out
from convbench.analysis.claims.paired import MOST, Difference, gains, of, paired, sorted_out, spread
from convbench.analysis.quality.qualities import Quality

DIAL = re.compile(r"(\w+)\(train_clips=(\d+)\)")
Cell = tuple[str, int, str]
"""What a cell is called, its training clips, and its task as the run names it."""


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
    cells = _cells(evidence)
    if not cells:
        raise Lacking(f"Trainings of flatten and GAP are needed: {TRAIN}.")
    pairs = {cell: _pair(evidence, cell[2]) for cell in cells}
    gaps = {cell: tuple(_gaps(evidence, one) for one in pair) for cell, pair in pairs.items()}
    found = [paired(cell[0], flat, gap) for cell, (flat, gap) in gaps.items()]
    accuracy = [paired(cell[0], flat.by_seed, gap.by_seed) for cell, (flat, gap) in pairs.items()]
    used = left_out(each for pair in pairs.values() for each in pair)
    return judged(found, accuracy, used, _plot(gaps))


def judged(
    gaps: list[Difference], accuracy: list[Difference], used: tuple[Number, ...] = (), plot: Plot | None = None
) -> Judgement:
    """Whether flatten's gap is larger in some, most and all; the claim's own word, often, is taken for most."""
    numbers = [one.number(f"{one.where}: train-test gap, flatten less GAP") for one in gaps]
    numbers += [one.number(f"{one.where}: test accuracy, flatten less GAP") for one in accuracy]
    better = [one.where for one in accuracy if one.shown]
    why = f"A larger gap with flatten is {sorted_out(gaps)}."
    if better:
        why += f" Overfitting is not all: flatten has the higher test accuracy on {', '.join(better)}."
    verdicts = gains(gaps)
    return Judgement(of(MOST, verdicts), why, (*numbers, *used), plot, verdicts)


def _cells(evidence: Evidence) -> list[Cell]:
    """Tasks as they are and with fewer clips, where both reducers have two sound runs."""
    cells = []
    for task in dict.fromkeys(one.task for one in evidence.qualities):
        dial = DIAL.fullmatch(task)
        if (dial or "(" not in task) and _both(evidence, task):
            clips = int(dial[2]) if dial else evidence.train_clips
            cells.append((f"{dial[1] if dial else task} ({clips:,} clips)", clips, task))
    return sorted(cells, key=lambda cell: (cell[2].partition("(")[0], cell[1]))


def _both(evidence: Evidence, task: str) -> bool:
    try:
        flat, gap = _pair(evidence, task)
    except Lacking:
        return False
    return min(len(flat.by_seed), len(gap.by_seed)) > 1


def _pair(evidence: Evidence, task: str) -> tuple[Quality, Quality]:
    sizes = {
        str(one.architecture.reducer): one for one in evidence.on(task).values() if not one.architecture.layer_norm
    }
    if not {"flatten", "gap"} <= sizes.keys():
        raise Lacking(f"No two sound trainings of flatten and GAP on {task}: {TRAIN}.")
    return sizes["flatten"], sizes["gap"]


def _gaps(evidence: Evidence, of: Quality) -> dict[int, float]:
    """Training less test accuracy at the end, by seed, of the sound runs at the chosen rate."""
    key = (of.architecture, of.clip, of.task, of.learning_rate)
    return {
        one.seed: one.train - one.curve[-1].test
        for one in evidence.lessons
        if (one.architecture, one.clip, one.task, one.learning_rate) == key and one.seed in of.by_seed and one.curve
    }


def _plot(gaps: dict[Cell, tuple[dict[int, float], ...]]) -> Plot | None:
    """The dial of identity, where there is one."""
    dial = {cell: found for cell, found in gaps.items() if cell[2].startswith("identity")}
    if len(dial) < 2:
        return None
    curves = [
        Curve(name, tuple(_point(cell[1], found[i]) for cell, found in dial.items()))
        for i, name in enumerate(("flatten", "gap"))
    ]
    return Plot(
        "The gap on identity by training clips",
        "How to read this: training less test accuracy, means over seeds with 95 % intervals; higher is more "
        "overfitting.",
        ("Training clips", "clips"), ("Training less test accuracy", "points"), tuple(curves),
    )  # fmt: skip


def _point(clips: int, values: dict[int, float]) -> Point:
    one = spread("identity", list(values.values()))
    return Point(clips, one.mean, one.low, one.high)
