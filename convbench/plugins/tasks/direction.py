"""One digit drifts over a torus, and the label is its direction. A pooled map that loses position loses motion too.

Shuffled frames still show the axis of the motion, but not which of its two directions: a digit passes the same places
either way. So the best reader of shuffled frames is right in half of the clips. A single frame shows no motion.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from convbench.core.record import Clip, Training
from convbench.core.registry import declares, tasks
from convbench.measure.quality.controls import TaskTraits
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.digits import DIRECTIONS, STEPS, Digits, at_least, draw_splits, drift, start
from convbench.measure.quality.splitting import balanced_labels


@tasks.register("direction")
@declares(TaskTraits({"frame-shuffle": 1 / 2, "single-frame": 1 / 8}))
def direction(clip: Clip, training: Training, seed: int) -> Splits:
    """Which of 8 directions a digit drifts in, over a torus; where it starts tells nothing."""
    at_least(2, clip, "direction needs two to show a motion")
    return draw_splits(partial(_draw, clip), DIRECTIONS, training, seed)


def _draw(clip: Clip, digits: Digits, count: int, rng: np.random.Generator) -> Labelled:
    labels = balanced_labels(count, len(DIRECTIONS), rng)
    indices = rng.integers(len(digits.labels), size=count)
    return Labelled(drift(clip, digits, indices, start(clip, count, 1.0, rng), STEPS[labels]), torch.from_numpy(labels))
