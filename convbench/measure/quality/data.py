"""The clips of a task: labelled, in three splits that share no source."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Labelled(NamedTuple):
    """Clips (N, T, C, H, W), float32 (drawn ones in [0, 1]), and the class numbers of the clips (N,), int64."""

    clips: torch.Tensor
    labels: torch.Tensor


class Pool(NamedTuple):
    """The sources from which every seed draws its parts.

    ``size`` is the number of sources: clips, or recordings of several clips. ``test_sources`` names the source of each
    test clip.
    """

    size: int
    test_sources: tuple[int, ...]


class Splits(NamedTuple):
    """Clips for training, validation and testing, and the names of the classes by number.

    ``pool`` is where they are drawn from, None if every seed has its own clips.
    """

    train: Labelled
    val: Labelled
    test: Labelled
    classes: tuple[str, ...]
    pool: Pool | None = None
