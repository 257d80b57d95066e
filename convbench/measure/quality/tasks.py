"""Load the clips of a task, wherever they come from.

A task of the shelf draws ``training.train_clips``, ``val_clips`` and ``test_clips`` clips of the shape's T, C, H and W.
A user's own ``package.module:function`` that is on no shelf yields (clip, label) pairs instead, which ``user_clips``
splits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convbench.core import imports, registry
from convbench.core.errors import ConvbenchError
from convbench.core.option_types import settings
from convbench.core.record import Choice, Clip, Training

if TYPE_CHECKING:
    from convbench.measure.quality.data import Splits


def load(choice: Choice, clip: Clip, training: Training, seed: int) -> Splits:
    """Return the clips of a task or of the user's own function in three splits; a seed always gives the same ones.

    Raises ConvbenchError if the clips are not as requested, Unavailable if a library is missing.
    """
    if choice.is_imported and not _is_registered(choice.name):
        from convbench.measure.quality.user_clips import from_function

        return from_function(choice, clip, training, seed)
    build = registry.tasks.get(choice.name).build
    splits = build(clip, training, seed, **settings(build, choice.options))
    return _check(splits, choice, clip)


def _check(splits: object, choice: Choice, clip: Clip) -> Splits:
    """Return a task's splits. Raises ConvbenchError, naming the task, if types, shapes or labels are wrong."""
    import torch

    from convbench.measure.quality.data import Splits

    if not isinstance(splits, Splits):
        raise ConvbenchError(f"the task {choice} returned {type(splits).__name__}: it must return Splits")
    shape, numbers = (clip.frames, clip.channels, clip.height, clip.width), range(len(splits.classes))
    for part, (clips, labels) in zip(splits._fields, splits[:3], strict=False):
        if not (isinstance(clips, torch.Tensor) and isinstance(labels, torch.Tensor) and clips.dtype == torch.float32):
            raise ConvbenchError(f"the task {choice}: clips and labels of {part} must be tensors, and clips float32")
        if clips.shape[1:] != shape:
            raise ConvbenchError(f"the task {choice}: clips of {part} are {tuple(clips.shape[1:])}, not {shape}")
        if labels.shape != clips.shape[:1] or labels.dtype != torch.int64 or not set(labels.tolist()) <= set(numbers):
            rule = f"the number of each clip's class, int64 from 0 to {numbers.stop - 1}"
            raise ConvbenchError(f"the task {choice}: labels of {part} are not {rule}")
    return splits


def _is_registered(path: str) -> bool:
    """Whether the object at an import path is on the shelf, too, by a name that the suite does not use."""
    function = imports.import_path(path)
    return any(plugin.build is function for plugin in registry.tasks.registered())
