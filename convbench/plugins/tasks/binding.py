"""A large and a small digit lie side by side, and the label is the side of the large one: it binds what to where.

The pair is placed as a whole at random inside the canvas. A padded convolution sees the borders, so even a pooled map
tells part of the label: more than the axis alone, with which one half of the guesses would be right.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from convbench.core.record import Clip, Training
from convbench.core.registry import tasks
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.digits import BOX, Digits, box, draw_splits, in_channels, stamp
from convbench.measure.quality.splitting import balanced_labels

SIDES = ("left", "right", "above", "below")
OFFSETS = np.array([(0, 1), (0, -1), (1, 0), (-1, 0)])
"""Direction from the larger digit to the smaller, (y, x), for each of ``SIDES``."""

LARGER, SMALLER, FURTHEST = BOX, 0.3, 0.125
"""Shares of the canvas's shorter side: the boxes of the larger and the smaller digit, and the largest gap between."""


@tasks.register("binding")
def binding(clip: Clip, training: Training, seed: int) -> Splits:
    """Which of 4 sides of the smaller digit the larger digit is on; nothing moves."""
    return draw_splits(partial(_draw, clip), SIDES, training, seed)


def _draw(clip: Clip, digits: Digits, count: int, rng: np.random.Generator) -> Labelled:
    labels = balanced_labels(count, len(SIDES), rng)
    larger, smaller = box(clip, LARGER), box(clip, SMALLER)
    gaps = rng.integers(1 + round(FURTHEST * min(clip.height, clip.width)), size=count)
    displacements = ((larger + smaller + 1) // 2 + gaps)[:, None] * OFFSETS[labels] + larger // 2 - smaller // 2
    low = np.maximum(0, -displacements)
    high = np.minimum(np.array((clip.height, clip.width)) - larger, (clip.height, clip.width) - displacements - smaller)
    corners = rng.integers(low, high + 1)
    canvas = torch.zeros(count, clip.frames, clip.height, clip.width)
    for size, places in ((larger, corners), (smaller, corners + displacements)):
        indices = rng.integers(len(digits.labels), size=count)
        stamp(canvas, digits.resize(size)[indices], places[:, None])
    return Labelled(in_channels(canvas, clip), torch.from_numpy(labels))
