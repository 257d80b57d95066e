"""Whether a training had ended in the middle of learning, read from its curve; pages ask it of stored runs too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

LEAST_SLOPE = 0.03
"""Per 100 steps: beyond it the schedule ended in the middle of learning, not near its end."""

SURE_ERRORS = 1.645
LEAST_RELATIVE_FALL, LEAST_FALL = 0.05, 0.03
"""Of the loss from one checkpoint to the next in mid-schedule, relative and absolute."""

LEARNT_ACCURACY, OVERFIT_LEAD = 0.95, 0.10
"""Training accuracy from which little is left to learn, and the lead over validation from which more would not help."""


def rising(steps: Sequence[float], val: Sequence[float], clips: int) -> float | None:
    """How fast accuracy still rose, per 100 steps over the last third of the checkpoints (three at least).

    None where that is not more than ``LEAST_SLOPE`` by 95 %, taking the accuracies for those of ``clips`` independent
    clips, which is cautious: they are the same clips each time. One checkpoint has no slope.
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


def cut_short(loss: Sequence[float], train: float, val: float) -> float | None:
    """How far the loss still fell from one checkpoint to the next before the learning rate was small, relative.

    A cosine schedule flattens every curve at its end, so the end says nothing: what counts is the middle, where steps
    are still large. None where it did not fall, or where training clips are learnt, or are learnt at the cost of
    others, so that more steps would not help.
    """
    if len(loss) < 5 or train >= LEARNT_ACCURACY or train - val > OVERFIT_LEAD:
        return None
    before, after = loss[len(loss) // 2], loss[len(loss) // 2 + 1]
    fall = before - after
    return fall / before if fall > max(LEAST_RELATIVE_FALL * before, LEAST_FALL) else None
