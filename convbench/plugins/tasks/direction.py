"""One digit drifts over a torus: which way. What a pooled map tells of position is what it can tell of motion.

Frames in any order still show the axis of the motion: the places that a digit passes are the same the other way round,
so the best reader of shuffled frames names one of two directions, right in half of the clips. One frame shows none."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from convbench.core.record import Clip, Training
from convbench.core.registry import declares, tasks
from convbench.measure.quality.controls import Without
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.digits import Digits, at_least, draw_splits
from convbench.measure.quality.drift import DIRECTIONS, STEPS, drift, start
from convbench.measure.quality.splitting import balanced


@tasks.register("direction")
@declares(Without({"frame-shuffle": 1 / 2, "single-frame": 1 / 8}))
def direction(clip: Clip, training: Training, seed: int) -> Splits:
    """Which of 8 ways a digit drifts over a torus; where it starts tells nothing."""
    at_least(2, clip, "direction needs two to tell a motion")
    return draw_splits(partial(_draw, clip), DIRECTIONS, training, seed)


def _draw(clip: Clip, digits: Digits, count: int, rng: np.random.Generator) -> Labelled:
    labels = balanced(count, len(DIRECTIONS), rng)
    indices = rng.integers(len(digits.labels), size=count)
    return Labelled(drift(clip, digits, indices, start(clip, count, 1.0, rng), STEPS[labels]), torch.from_numpy(labels))
