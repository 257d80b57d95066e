"""Which clips, or sources of clips, go to which split: every class in each, in an order of a seed of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
SOURCES, CONTROLLED = 9, 10
"""Uses of random numbers: what goes to which split, and what a control takes away; the splits themselves are 1 to 3."""
NO_LIMITS = (None, None, None)
DRAWS = 100
"""Of groups to splits, until every class is in each."""


def random(seed: int, *use: int) -> np.random.Generator:
    """A stream of random numbers for one use under a seed; others and the global ones are untouched."""
    return np.random.default_rng([seed, *use])


def stratify(
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
    train, val, test = (_cut(part, limit, rng) for part, limit in zip(parts, limits or NO_LIMITS, strict=True))
    return train, val, test


def stratify_groups(
    labels: Indices, groups: Indices, held_out: float, rng: np.random.Generator, limits: tuple[int, int, int]
) -> tuple[Indices, Indices, Indices] | None:
    """As ``stratify``, of whole groups, each taken for one of its commonest class: none has clips in two splits.

    Where groups have clips of several classes another draw may have every class in each split; None where none has.
    """
    group_labels = np.array([np.bincount(labels[groups == group]).argmax() for group in range(groups.max() + 1)])
    for _ in range(DRAWS):
        parts = [np.flatnonzero(np.isin(groups, split)) for split in stratify(group_labels, held_out, rng)]
        by_class = [[rng.permutation(part[labels[part] == number]) for number in np.unique(labels)] for part in parts]
        if all(len(members) for part in by_class for members in part):
            train, val, test = (_cut(part, limit, rng) for part, limit in zip(by_class, limits, strict=True))
            return train, val, test
    return None


def balanced(count: int, classes: int, rng: np.random.Generator) -> Indices:
    """``count`` labels in random order, each class as often as any other or once more."""
    return rng.permutation(np.arange(count) % classes)


def _cut(classes: list[Indices], limit: int | None, rng: np.random.Generator) -> Indices:
    """So many clips of these classes at most, in random order."""
    return rng.permutation(np.concatenate(classes)[_even_order(classes)[:limit]])


def _even_order(classes: list[Indices]) -> Indices:
    """An order in which any beginning has the classes in proportion, the first of each before all others."""
    ranks = [np.arange(len(members)) for members in classes]
    is_later = np.concatenate([rank > 0 for rank in ranks])
    share = np.concatenate([(rank + 0.5) / max(1, len(rank)) for rank in ranks])
    return np.lexsort((share, is_later))
