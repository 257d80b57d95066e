"""Assign clips, or sources of clips, to splits: every class in each, in an order with a seed of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
SOURCES, CONTROLLED = 9, 10
"""Uses of random numbers: assigning sources to splits, and applying a control; the splits themselves use 1 to 3."""
NO_LIMITS = (None, None, None)
DRAWS = 100
"""Attempts to assign groups to splits so that every class is in each split."""


def random(seed: int, *use: int) -> np.random.Generator:
    """Return a random generator for one use under a seed; other generators and the global ones are untouched."""
    return np.random.default_rng([seed, *use])


def stratify(
    labels: Indices, held_out: float, rng: np.random.Generator, limits: tuple[int, int, int] | None = None
) -> tuple[Indices, Indices, Indices]:
    """Return indices for training, validation and testing; the last two get a share ``held_out`` of each class, or one.

    With ``limits`` no split is longer than its limit: classes keep their proportions, and at least one clip each.
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
    """Split whole groups as ``stratify`` does, each by its commonest class, so that none has clips in two splits.

    Groups with clips of several classes may need several draws until every class is in each split; None if all draws
    fail.
    """
    group_labels = np.array([np.bincount(labels[groups == group]).argmax() for group in range(groups.max() + 1)])
    for _ in range(DRAWS):
        parts = [np.flatnonzero(np.isin(groups, split)) for split in stratify(group_labels, held_out, rng)]
        by_class = [[rng.permutation(part[labels[part] == number]) for number in np.unique(labels)] for part in parts]
        if all(len(members) for part in by_class for members in part):
            train, val, test = (_cut(part, limit, rng) for part, limit in zip(by_class, limits, strict=True))
            return train, val, test
    return None


def balanced_labels(count: int, classes: int, rng: np.random.Generator) -> Indices:
    """``count`` labels in random order, in which the counts of any two classes differ by at most one."""
    return rng.permutation(np.arange(count) % classes)


def _cut(classes: list[Indices], limit: int | None, rng: np.random.Generator) -> Indices:
    """At most ``limit`` clips of these classes, in random order."""
    return rng.permutation(np.concatenate(classes)[_even_order(classes)[:limit]])


def _even_order(classes: list[Indices]) -> Indices:
    """An order whose every prefix has the classes in proportion, beginning with one of each class."""
    ranks = [np.arange(len(members)) for members in classes]
    is_later = np.concatenate([rank > 0 for rank in ranks])
    share = np.concatenate([(rank + 0.5) / max(1, len(rank)) for rank in ranks])
    return np.lexsort((share, is_later))
