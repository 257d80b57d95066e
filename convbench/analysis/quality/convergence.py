"""Judge from its curve whether a training ended in the middle of learning. Pages judge stored runs by it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

LEAST_SLOPE = 0.03
"""Accuracy gained per 100 steps, above which the schedule ended in the middle of learning, not near its end."""

SURE_ERRORS = 1.645
LEAST_RELATIVE_FALL, LEAST_FALL = 0.05, 0.03
"""Least fall of the loss from one checkpoint to the next in mid-schedule that counts, relative and absolute."""

LEARNT_ACCURACY, OVERFIT_LEAD = 0.95, 0.10
"""Training accuracy from which little is left to learn, and lead over validation from which more steps do not help."""


def late_rise(steps: Sequence[float], val: Sequence[float], clips: int) -> float | None:
    """Return how fast accuracy still rose, per 100 steps over the last third of the checkpoints (at least three).

    None if that is not shown to exceed ``LEAST_SLOPE`` at 95 %, or with only one checkpoint. Accuracies are treated as
    those of ``clips`` independent clips, which is cautious: the clips are the same at each checkpoint.
    """
    if len(steps) < 2:
        return None
    window = max(3, len(steps) // 3)
    x, y = [step / 100 for step in steps[-window:]], val[-window:]
    middle = fmean(x)
    squares = sum((step - middle) ** 2 for step in x)
    slope = sum((a - middle) * b for a, b in zip(x, y, strict=True)) / squares
    share = min(max(fmean(y), 1 / clips), 1 - 1 / clips)
    error = math.sqrt(share * (1 - share) / clips / squares)
    return slope if slope - SURE_ERRORS * error > LEAST_SLOPE else None


def late_fall(loss: Sequence[float], train: float, val: float) -> float | None:
    """Return how far the loss still fell between two checkpoints in mid-schedule, relative to the first of them.

    A cosine schedule flattens every curve at its end, so only the middle is informative, where steps are still large.
    None with fewer than five checkpoints, if the loss hardly fell, or if more steps would not help: training clips are
    learnt, or are learnt at the cost of validation clips.
    """
    if len(loss) < 5 or train >= LEARNT_ACCURACY or train - val > OVERFIT_LEAD:
        return None
    before, after = loss[len(loss) // 2], loss[len(loss) // 2 + 1]
    fall = before - after
    return fall / before if fall > max(LEAST_RELATIVE_FALL * before, LEAST_FALL) else None
