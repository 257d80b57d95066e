"""Where every configuration stands against the best one of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from convbench.analysis.quality import Quality
from convbench.claims.claim import Lacking
from convbench.claims.evidence import TRAIN, Evidence
from convbench.claims.paired import MARGIN, paired

LEAST = 3


class Standing(NamedTuple):
    """A configuration on a task: its size, how far below the best it is, and the 95 % interval of that."""

    name: str
    size: int
    short: float
    low: float
    high: float

    @property
    def suffices(self) -> bool:
        return self.high < MARGIN

    @property
    def falls_short(self) -> bool:
        """Shown to be below the best by more than the margin."""
        return self.low > MARGIN


Standings = Mapping[str, list[Standing]]
"""By task."""


def standings(evidence: Evidence) -> dict[str, list[Standing]]:
    """By task every configuration against the best. Raises Lacking without a task of three of them, flatten too."""
    found = {task: _ranked(evidence.on(task)) for task in evidence.tasks}
    kept = {task: several for task, several in found.items() if len(several) >= LEAST and _has_flatten(several)}
    if not kept:
        raise Lacking(f"Trainings of flatten and of two smaller inputs or more are needed: {TRAIN}.")
    return kept


def tried_on(evidence: Evidence, found: Standings) -> list[Quality]:
    return [one for one in evidence.qualities if one.task in found]


def _ranked(found: Mapping[str, Quality]) -> list[Standing]:
    if not found:
        return []
    best = max(found.values(), key=lambda one: one.mean or 0.0)
    made = []
    for called, one in found.items():
        size = one.architecture.lstm_input or 0
        if one is best:
            made.append(Standing(called, size, 0.0, 0.0, 0.0))
        elif len(best.by_seed.keys() & one.by_seed.keys()) > 1:
            gap = paired(one.task, best.by_seed, one.by_seed)
            made.append(Standing(called, size, gap.mean, gap.low, gap.high))
    return made


def _has_flatten(several: list[Standing]) -> bool:
    return any(one.name.startswith("flatten") for one in several)
