"""Find the configurations that cannot be told from the best on one task, from a few paired seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from convbench.analysis.inference.effect import detectable
from convbench.analysis.inference.noninferior import ERROR, pairs
from convbench.analysis.quality.qualities import Quality, seed_table


class Standing(NamedTuple):
    """A quality, and whether the 95 % interval of its paired difference from the best one holds 0 (``tied``)."""

    quality: Quality
    tied: bool


def standings(qualities: Sequence[Quality]) -> list[Standing]:
    """Return the qualities of one task with a sound run, best mean first; telling two apart takes two shared seeds."""
    members = sorted((quality for quality in qualities if quality.by_seed), key=lambda quality: -(quality.mean or 0.0))
    if len(members) < 2:
        return [Standing(quality, True) for quality in members]
    contrasts = pairs(seed_table(members))
    gap, error, df = contrasts.gap[:, 0], contrasts.error[:, 0], contrasts.df[:, 0]
    is_tied = gap <= stdtrit(df, 1 - ERROR / 2) * error
    return [Standing(quality, bool(is_tied[i]) or i == 0) for i, quality in enumerate(members)]


def visible(qualities: Sequence[Quality]) -> float | None:
    """Return the difference in accuracy that these seeds detect in four of five cases; None if they are too few."""
    members = [quality for quality in qualities if len(quality.by_seed) > 1]
    difference = detectable(pairs(seed_table(members))) if len(members) > 1 else float("nan")
    return difference if np.isfinite(difference) else None
