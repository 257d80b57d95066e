"""What is taken from a task to see that it is needed: the order of frames, all frames but one, the labels' meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from convbench.core.errors import ConvbenchError
from convbench.core.record import Choice
from convbench.core.registry import did_you_mean, tasks
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.splitting import CONTROLLED, random


class Control(NamedTuple):
    """What changes the splits; whether chance is the best that is left, whatever the task."""

    change: Callable[[Splits, np.random.Generator], Splits]
    leaves_chance: bool = False


@dataclass(frozen=True)
class Without:
    """What a task declares: by control the accuracy of the best reader that lacks what the control takes away.

    A control that takes nothing from this task is not named.
    """

    best: Mapping[str, float]


def apply(control: str | None, splits: Splits, seed: int) -> Splits:
    """The splits under a control, or as they are without one; the given ones are not changed.

    Raises ConvbenchError where there is no such control.
    """
    if control is None:
        return splits
    if control not in _CONTROLS:
        raise ConvbenchError(f"unknown control {control!r}{did_you_mean(control, CONTROLS)}")
    return _CONTROLS[control].change(splits, random(seed, CONTROLLED))


def expected_accuracy(control: str | None, task: Choice, classes: int) -> float | None:
    """What the best reader reaches that lacks what the control takes away; None where nobody says.

    Where it is not chance, a task declares it (``Without``).
    """
    if control is None:
        return None
    if _CONTROLS[control].leaves_chance:
        return 1 / classes
    declaration = tasks.get(task.name).declared
    return declaration.best.get(control) if isinstance(declaration, Without) else None


def _frame_shuffle(splits: Splits, rng: np.random.Generator) -> Splits:
    """The frames of every clip in a random order of its own."""

    def shuffle(split: Labelled) -> Labelled:
        count, frames = split.clips.shape[:2]
        order = torch.from_numpy(rng.permuted(np.tile(np.arange(frames), (count, 1)), axis=1))
        return split._replace(clips=split.clips[torch.arange(count)[:, None], order])

    return _change_splits(shuffle, splits)


def _single_frame(splits: Splits, _: np.random.Generator) -> Splits:
    """The middle frame of every clip in place of all of them."""

    def freeze(split: Labelled) -> Labelled:
        middle = split.clips.shape[1] // 2
        return split._replace(clips=split.clips[:, middle : middle + 1].expand_as(split.clips))

    return _change_splits(freeze, splits)


def _label_permutation(splits: Splits, rng: np.random.Generator) -> Splits:
    """The labels to learn from dealt out anew; those to choose by and to report on are kept."""
    order = torch.from_numpy(rng.permutation(len(splits.train.labels)))
    return splits._replace(train=splits.train._replace(labels=splits.train.labels[order]))


def _change_splits(change: Callable[[Labelled], Labelled], splits: Splits) -> Splits:
    return splits._replace(train=change(splits.train), val=change(splits.val), test=change(splits.test))


_CONTROLS: Mapping[str, Control] = {
    "frame-shuffle": Control(_frame_shuffle),
    "single-frame": Control(_single_frame),
    "label-permutation": Control(_label_permutation, leaves_chance=True),
}
CONTROLS = tuple(_CONTROLS)
