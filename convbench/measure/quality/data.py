"""What a task hands over: labelled clips in three splits that share no source."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Labelled(NamedTuple):
    """Clips (N, T, C, H, W), float32 (drawn ones in [0, 1]), and the number of each one's class (N,), int64."""

    clips: torch.Tensor
    labels: torch.Tensor


class Pool(NamedTuple):
    """So many sources, clips or recordings of several, of which every seed draws its parts, and which of them each test
    clip is of."""

    size: int
    test_sources: tuple[int, ...]


class Splits(NamedTuple):
    """Clips to learn from, to choose by, and to report on; the names of the classes by number.

    ``pool`` is where they are drawn from, None where every seed has clips of its own.
    """

    train: Labelled
    val: Labelled
    test: Labelled
    classes: tuple[str, ...]
    pool: Pool | None = None
