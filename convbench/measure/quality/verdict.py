"""Whether a training run may be averaged with others: a run that died, or that was still learning, may not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from convbench.core.record import Finding

CONSTANT = 0.95
RISING = 0.03
"""Per 100 steps: beyond it the schedule ended in the middle of learning, not near its end."""

SURE = 1.645


def findings(named: Sequence[int], steps: Sequence[int], val: Sequence[float]) -> Iterator[Finding]:
    """``named`` are the classes that the trained model names for the validation clips, ``val`` its curve."""
    share = max(named.count(label) for label in set(named)) / len(named)
    if share >= CONSTANT:
        yield Finding("dead_run", data={"share": share})
    elif (rise := rising(steps, val, len(named))) is not None:
        yield Finding("unconverged", data={"rise": rise})


def rising(steps: Sequence[int], val: Sequence[float], clips: int) -> float | None:
    """How fast accuracy still rose, per 100 steps over the last third of the checkpoints (three at least).

    None where that is not more than ``RISING`` by 95 %, taking the accuracies for those of ``clips`` independent clips,
    which is cautious: they are the same clips each time.
    """
    last = max(3, len(steps) // 3)
    x, y = [step / 100 for step in steps[-last:]], val[-last:]
    middle = fmean(x)
    squares = sum((each - middle) ** 2 for each in x)
    slope = sum((a - middle) * b for a, b in zip(x, y, strict=True)) / squares
    share = min(max(fmean(y), 1 / clips), 1 - 1 / clips)
    error = math.sqrt(share * (1 - share) / clips / squares)
    return slope if slope - SURE * error > RISING else None
