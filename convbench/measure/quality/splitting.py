"""Which clips, or sources of clips, go to which split: every class in each, in an order of a seed of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
SOURCES, CONTROLLED = 9, 10
"""Uses of random numbers: what goes to which split, and what a control takes away; the splits themselves are 1 to 3."""


def random(seed: int, *use: int) -> np.random.Generator:
    """A stream of random numbers for one use under a seed; others and the global ones are untouched."""
    return np.random.default_rng([seed, *use])


def stratified(
    labels: Indices, held_out: float, rng: np.random.Generator, limits: tuple[int, int, int] | None = None
) -> tuple[Indices, Indices, Indices]:
    """Indices to train, validate and test on; a share ``held_out`` of each class, or one, to each of the last two.

    With ``limits`` no split is longer: classes keep their proportions, and at least one clip each.
    """
    parts: tuple[list[Indices], ...] = ([], [], [])
    for number in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == number))
        count = max(1, round(held_out * len(members)))
        for part, indices in zip(
            parts, (members[2 * count :], members[:count], members[count : 2 * count]), strict=True
        ):
            part.append(indices)
    train, val, test = (
        rng.permutation(np.concatenate(part)[_evenly(part)[:limit]])
        for part, limit in zip(parts, limits or (None, None, None), strict=True)
    )
    return train, val, test


def balanced(count: int, classes: int, rng: np.random.Generator) -> Indices:
    """``count`` labels in random order, each class as often as any other or once more."""
    return rng.permutation(np.arange(count) % classes)


def _evenly(classes: list[Indices]) -> Indices:
    """An order in which any beginning has the classes in proportion, the first of each before all others."""
    ranks = [np.arange(len(members)) for members in classes]
    first = np.concatenate([rank > 0 for rank in ranks])
    share = np.concatenate([(rank + 0.5) / max(1, len(rank)) for rank in ranks])
    return np.lexsort((share, first))
