"""Estimate what would settle an answer that is not sure: which configurations, how many further seeds, how long."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from convbench.analysis.choice.candidates import Candidate
from convbench.analysis.choice.doubts import SURE_SEEDS
from convbench.analysis.choice.recommendation import Settle
from convbench.analysis.inference.noninferior import Pairs, hurdle

MOST_SEEDS = 100
LEAST_DISTANCE = 0.25
"""Least distance of an estimate from the margin, in margins. For a smaller one, no number of seeds would do."""


def enough_seeds(pick: Candidate) -> Settle:
    """Return the further seeds that a pick lacks to be sure."""
    seeds = SURE_SEEDS - len(pick.quality.by_seed)
    return Settle((pick,), seeds, seeds * pick.quality.seconds)


def settle(pool: Sequence[Candidate], contrasts: Pairs, place: int, margin: float, error: float) -> Settle | None:
    """Return what would decide whether the candidate at this place is within the margin; None if nothing keeps it open.

    The number of seeds is the highest that any undecided pair needs, by its present estimate.
    """
    gap, spread, df = contrasts.gap[place], contrasts.error[place], contrasts.df[place]
    p = stdtr(df, -(margin - gap) / np.maximum(spread, 1e-12))
    level = hurdle(len(pool), error)
    rivals = [i for i in range(len(pool)) if i != place and level < p[i] < 1 - level]
    if not rivals:
        return None
    places = (place, *rivals)
    total = max(_seeds_needed(contrasts, place, i, margin, level) for i in rivals)
    shortage = total - min(contrasts.runs[i] for i in places)
    if shortage > MOST_SEEDS:
        return Settle(tuple(pool[i] for i in places), None, 0.0)
    seeds = max(1, math.ceil(shortage))
    seconds = sum(seeds * pool[i].quality.seconds for i in places)
    return Settle(tuple(pool[i] for i in places), seeds, seconds)


def _seeds_needed(contrasts: Pairs, place: int, rival: int, margin: float, level: float) -> float:
    """Return how many seeds would tell at this level on which side of the margin the rival is.

    Infinite if no number would, because of the variance that their clips keep.
    """
    if not np.isfinite(contrasts.error[place, rival]):
        return 3.0
    distance = max(abs(margin - contrasts.gap[place, rival]), LEAST_DISTANCE * margin)
    runs = min(contrasts.runs[place], contrasts.runs[rival])
    error = distance / float(stdtrit(max(contrasts.df[place, rival], 4.0), 1 - level))
    floor = float(contrasts.floors[place, rival])
    if error**2 <= floor:
        return math.inf
    return float(runs * (contrasts.error[place, rival] ** 2 - floor) / (error**2 - floor))
