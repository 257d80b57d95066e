"""Take something from a task to see whether it is needed: the order of frames, most frames, the labels' meaning."""

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
    """A change of the splits, and whether it leaves nothing better than chance, whatever the task."""

    change: Callable[[Splits, np.random.Generator], Splits]
    leaves_chance: bool = False


@dataclass(frozen=True)
class TaskTraits:
    """The traits of a task: by control, the ``best`` accuracy of a reader that lacks what the control takes away.

    Controls that take nothing from this task are left out.
    """

    best: Mapping[str, float]


def apply(control: str | None, splits: Splits, seed: int) -> Splits:
    """Return the splits under a control, or unchanged without one; the given splits are not modified.

    Raises ConvbenchError if there is no such control.
    """
    if control is None:
        return splits
    if control not in CONTROLS:
        raise ConvbenchError(f"unknown control {control!r}{did_you_mean(control, CONTROLS)}")
    return CONTROLS[control].change(splits, random(seed, CONTROLLED))


def expected_accuracy(control: str | None, task: Choice, classes: int) -> float | None:
    """The accuracy of the best reader that lacks what the control takes away; None if it is unknown.

    If it is not chance, the task declares it (``TaskTraits``).
    """
    if control is None:
        return None
    if CONTROLS[control].leaves_chance:
        return 1 / classes
    declaration = tasks.get(task.name).declaration
    return declaration.best.get(control) if isinstance(declaration, TaskTraits) else None


def _frame_shuffle(splits: Splits, rng: np.random.Generator) -> Splits:
    """Put the frames of every clip into a random order of its own."""

    def shuffle(split: Labelled) -> Labelled:
        count, frames = split.clips.shape[:2]
        order = torch.from_numpy(rng.permuted(np.tile(np.arange(frames), (count, 1)), axis=1))
        return split._replace(clips=split.clips[torch.arange(count)[:, None], order])

    return _change_splits(shuffle, splits)


def _single_frame(splits: Splits, _: np.random.Generator) -> Splits:
    """Replace all frames of every clip by the middle one."""

    def freeze(split: Labelled) -> Labelled:
        middle = split.clips.shape[1] // 2
        return split._replace(clips=split.clips[:, middle : middle + 1].expand_as(split.clips))

    return _change_splits(freeze, splits)


def _label_permutation(splits: Splits, rng: np.random.Generator) -> Splits:
    """Permute the labels of the training clips; those of the validation and test clips stay."""
    order = torch.from_numpy(rng.permutation(len(splits.train.labels)))
    return splits._replace(train=splits.train._replace(labels=splits.train.labels[order]))


def _change_splits(change: Callable[[Labelled], Labelled], splits: Splits) -> Splits:
    return splits._replace(train=change(splits.train), val=change(splits.val), test=change(splits.test))


CONTROLS: Mapping[str, Control] = {
    "frame-shuffle": Control(_frame_shuffle),
    "single-frame": Control(_single_frame),
    "label-permutation": Control(_label_permutation, leaves_chance=True),
}
