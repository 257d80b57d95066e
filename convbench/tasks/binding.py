"""Two digits of two sizes, side by side or one above the other: where the larger is. What and where, bound together."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from convbench.learning.data import Labelled, Splits
from convbench.learning.digits import BOX, Digits, box, drawn, in_channels, stamp
from convbench.learning.splitting import Indices, balanced
from convbench.record import Clip, Training
from convbench.registry import tasks

SIDES = ("left", "right", "above", "below")
SMALLER = 0.3


@tasks.register("binding")
def binding(clip: Clip, training: Training, seed: int) -> Splits:
    """On which of 4 sides of the smaller digit the larger one is; nothing moves."""
    return drawn(partial(_draw, clip), SIDES, training, seed)


def _draw(clip: Clip, digits: Digits, count: int, rng: np.random.Generator) -> Labelled:
    labels = balanced(count, len(SIDES), rng)
    across = rng.random(count)
    canvas = torch.zeros(count, clip.frames, clip.height, clip.width)
    for share, sides in ((BOX, labels), (SMALLER, labels ^ 1)):
        size = box(clip, share)
        chosen = rng.integers(len(digits.labels), size=count)
        stamp(canvas, digits.scaled(size)[chosen], _corners(clip, size, sides, across, rng)[:, None])
    return Labelled(in_channels(canvas, clip), torch.from_numpy(labels))


def _corners(clip: Clip, size: int, sides: Indices, across: np.ndarray, rng: np.random.Generator) -> Indices:
    """Upper left pixels (N, 2): anywhere in the half of its side, and as far across as the other digit's middle is."""
    lengths = np.array((clip.height, clip.width))
    largest = box(clip)
    axis = np.where(sides < 2, 1, 0)
    half = lengths[axis] // 2
    along = rng.integers(half - size + 1) + np.where(sides % 2, lengths[axis] - half, 0)
    middle = largest // 2 + np.rint(across * (lengths[1 - axis] - largest)).astype(np.int64)
    corners = np.empty((len(sides), 2), dtype=np.int64)
    np.put_along_axis(corners, axis[:, None], along[:, None], axis=1)
    np.put_along_axis(corners, 1 - axis[:, None], middle[:, None] - size // 2, axis=1)
    return corners
