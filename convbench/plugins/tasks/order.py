"""Three digits flash one after another, and the label is the first: a task for memory, not for space.

It needs a large LSTM rather than a large LSTM input. In shuffled frames each of the three digits may have been the
first. A single frame, the middle one, shows the second digit, so the first is one of the nine others.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from convbench.core.record import Clip, Training
from convbench.core.registry import declares, tasks
from convbench.measure.quality.controls import TaskTraits
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.digits import CLASSES, Digits, at_least, box, draw_splits, in_channels, stamp
from convbench.measure.quality.splitting import Indices, balanced_labels

FLASHES = 3


@tasks.register("order")
@declares(TaskTraits({"frame-shuffle": 1 / FLASHES, "single-frame": 1 / 9}))
def order(clip: Clip, training: Training, seed: int) -> Splits:
    """Which of 10 digits flashes first: three different digits flash near the centre, with blanks between."""
    at_least(FLASHES, clip, f"order flashes {FLASHES} digits")
    return draw_splits(partial(_draw, clip), CLASSES, training, seed)


def _draw(clip: Clip, digits: Digits, count: int, rng: np.random.Generator) -> Labelled:
    labels = balanced_labels(count, len(CLASSES), rng)
    size = box(clip)
    images = digits.resize(size)
    canvas = torch.zeros(count, clip.frames, clip.height, clip.width)
    for classes, times in zip(_distinct_classes(labels, rng), flashes(clip.frames), strict=True):
        corners = _centre_corners(clip, size, count, rng)
        stamp(canvas[:, times], images[digits.of_classes(classes, rng)], corners)
    return Labelled(in_channels(canvas, clip), torch.from_numpy(labels))


def flashes(frames: int) -> list[slice]:
    """Return the frames that show each digit, beginning with each third, with blanks between if there is room.

    Each digit is shown in equally many: otherwise shuffled frames would tell by their number which digit was first. The
    middle frame, frames // 2, shows the second digit.
    """
    length = max(1, (frames + 1) // FLASHES - 1)
    starts = [int(third[0]) for third in np.array_split(np.arange(frames), FLASHES)]
    starts[1] = max(starts[1], frames // 2 + 1 - length)  # differs for 6 frames, where the middle one begins no third
    return [slice(start, start + length) for start in starts]


def _distinct_classes(first_classes: Indices, rng: np.random.Generator) -> list[Indices]:
    """Return the classes of the first, second and third digits; those of a clip differ."""
    offsets = rng.permuted(np.tile(np.arange(1, len(CLASSES)), (len(first_classes), 1)), axis=1)[:, : FLASHES - 1]
    return [first_classes, *((first_classes + offsets[:, i]) % len(CLASSES) for i in range(FLASHES - 1))]


def _centre_corners(clip: Clip, size: int, count: int, rng: np.random.Generator) -> Indices:
    reach = min(clip.height, clip.width) // 8
    centre = (np.array((clip.height, clip.width)) - size) // 2
    return centre + rng.integers(-reach, reach + 1, size=(count, 1, 2))
