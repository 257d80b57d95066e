"""One digit drifts over a torus, and the label is the digit. Pooling its position away loses nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

import numpy as np
import torch
from pydantic import Field

from convbench.core.option_types import Positive
from convbench.core.record import Clip, Training
from convbench.core.registry import tasks
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.digits import CLASSES, STEPS, Digits, draw_splits, drift, start
from convbench.measure.quality.splitting import balanced_labels

Share = Annotated[float, Field(ge=0, le=1)]


@tasks.register("identity")
def identity(
    clip: Clip, training: Training, seed: int, *, jitter: Share = 1.0, train_clips: Positive | None = None
) -> Splits:
    """Which of 10 digits drifts over a torus; ``jitter`` is the share of the canvas it starts in (0: the centre).

    ``train_clips`` is the number of training clips, if it is to differ from that of the suite's ``training``.
    """
    training = replace(training, train_clips=train_clips or training.train_clips)
    return draw_splits(partial(_draw, clip, jitter), CLASSES, training, seed)


def _draw(clip: Clip, jitter: float, digits: Digits, count: int, rng: np.random.Generator) -> Labelled:
    labels = balanced_labels(count, len(CLASSES), rng)
    indices = digits.of_classes(labels, rng)
    steps = STEPS[rng.integers(len(STEPS), size=count)]
    return Labelled(drift(clip, digits, indices, start(clip, count, jitter, rng), steps), torch.from_numpy(labels))
