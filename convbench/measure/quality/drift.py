"""A digit that drifts over a torus in one of eight directions, at the same whole pixels per frame in every clip."""

from __future__ import annotations

import numpy as np
import torch

from convbench.core.record import Clip
from convbench.measure.quality.digits import Digits, box, in_channels, stamp
from convbench.measure.quality.splitting import Indices

DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
STEPS: Indices = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])


def speed(clip: Clip) -> int:
    """Pixels per frame along each axis: a sixteenth of the shorter side."""
    return max(1, round(min(clip.height, clip.width) / 16))


def start(clip: Clip, count: int, jitter: float, rng: np.random.Generator) -> Indices:
    """Centres (N, 2) of the digits in the first frame, uniform over ``jitter`` of each side about the middle."""
    sides = np.array((clip.height, clip.width))
    starts: Indices = np.rint(sides / 2 + (rng.random((count, 2)) - 0.5) * jitter * sides).astype(np.int64)
    return starts


def drift(clip: Clip, digits: Digits, indices: Indices, starts: Indices, steps: Indices) -> torch.Tensor:
    """Clips (N, T, C, H, W) of the digits at ``indices``, each from its start (N, 2) in its step's direction (N, 2)."""
    size = box(clip)
    corners = (starts - size // 2)[:, None] + speed(clip) * np.arange(clip.frames)[:, None] * steps[:, None]
    canvas = torch.zeros(len(indices), clip.frames, clip.height, clip.width)
    stamp(canvas, digits.resize(size)[indices], corners)
    return in_channels(canvas, clip)
