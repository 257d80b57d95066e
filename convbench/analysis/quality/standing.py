"""Find the configurations that cannot be told from the best on one task, from a few paired seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from convbench.analysis.inference.effect import detectable
from convbench.analysis.inference.noninferior import differences, pairs
from convbench.analysis.quality.qualities import Quality, seed_table

Placing = Literal["best", "tied", "few seeds", ""]
"""``tied`` if a quality cannot be told from the best, empty if it is shown to be worse.

With ``few seeds``, nothing can be said: they do not show how far seeds differ.
"""


class Standing(NamedTuple):
    """A quality and its place on a task."""

    quality: Quality
    place: Placing


def standings(qualities: Sequence[Quality]) -> list[Standing]:
    """Return the qualities of one task with a sound run, best mean first.

    The best may be so by luck, for which the intervals of its differences to the others allow.
    """
    members = sorted((quality for quality in qualities if quality.by_seed), key=lambda quality: -(quality.mean or 0.0))
    if len(members) < 2:
        return [Standing(quality, "best") for quality in members]
    contrasts = pairs(seed_table(members))
    _, high = differences(contrasts, 0)
    places: list[Placing] = [
        "few seeds" if not np.isfinite(error) else "tied" if bound >= 0 else ""
        for bound, error in zip(high, contrasts.error[0], strict=True)
    ]
    return [Standing(*entry) for entry in zip(members, ["best", *places[1:]], strict=True)]


def visible(qualities: Sequence[Quality]) -> float | None:
    """Return the difference in accuracy that these seeds detect in four of five cases; None if they are too few."""
    members = [quality for quality in qualities if len(quality.by_seed) > 1]
    difference = detectable(pairs(seed_table(members))) if len(members) > 1 else float("nan")
    return difference if np.isfinite(difference) else None
