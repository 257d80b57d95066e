"""Files that the trainings of a run share, so that each is made once: trained models, and the clips of a user.

A model that several runtimes evaluate is trained once, and a user's clips are read or made once per seed. A training
gives the same result wherever it runs, so if the weights are not at hand it is simply repeated. All trainings of a seed
have the same clips in the same split, even if a user's function yields others each time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import torch
from torch import nn

from convbench.core.record import Case
from convbench.core.system import lock, scratch
from convbench.core.text import digest
from convbench.measure import progress
from convbench.measure.quality.data import Labelled, Pool, Splits
from convbench.measure.quality.fit import TrainingCurve

P = ParamSpec("P")
FileContent = dict[str, Any]
UNREADABLE = (OSError, RuntimeError)
"""torch's errors for a missing file and for a full disk."""
SHARE_OF_DISK = 0.5
"""Share of the free disk space that a file may take: the rest is for the run's results, and for others."""


def read_or_make(path: Path, make: Callable[[], FileContent]) -> FileContent:
    """Return the file's content; the first process that asks makes it with ``make``, and others wait meanwhile.

    Tensors of a file are in memory that its readers share. Content that does not fit on the disk is made by each
    process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock.hold(path.with_suffix(".lock"), waiting=_wait):
        with suppress(*UNREADABLE):
            content: FileContent = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return content
        content = make()
        if _bytes(content) < SHARE_OF_DISK * shutil.disk_usage(path.parent).free:
            _write(path, content)
        return content


def _wait(_: str) -> None:
    progress.tell("waiting for another process of the run, which loads or trains the same", [])


def _write(path: Path, content: FileContent) -> None:
    place = path.with_suffix(".part")  # of the only process that holds the lock
    try:
        torch.save(content, place)  # an open file would be written to once more when it is closed, and raise again
        place.replace(path)
    except UNREADABLE:
        place.unlink(missing_ok=True)


def _bytes(content: Any) -> int:
    if isinstance(content, torch.Tensor):
        return content.nbytes
    if isinstance(content, Mapping):
        content = content.values()
    elif not isinstance(content, tuple):
        return 0
    return sum(map(_bytes, content))


def train_or_load(case: Case, model: nn.Module, fit: Callable[[], TrainingCurve]) -> TrainingCurve:
    """Return the curve of the eager case's training and leave its weights in the model; ``fit`` trains it."""
    folder = os.environ.get(scratch.TRAINED)
    if folder is None:
        return fit()

    def train() -> FileContent:
        curve = fit()
        return {"curve": asdict(curve), "weights": model.state_dict()}

    content = read_or_make(Path(folder, f"{digest(case.eager.id)}.pt"), train)
    model.load_state_dict(content["weights"])
    return TrainingCurve(**content["curve"])


def cache_clips(load: Callable[P, Splits]) -> Callable[P, Splits]:
    """Decorator: further processes of the run that ask for the same clips get those of the first."""

    @wraps(load)
    def read_or_load(*args: P.args, **options: P.kwargs) -> Splits:
        folder = os.environ.get(scratch.CLIPS)
        if folder is None:
            return load(*args, **options)

        def load_content() -> FileContent:
            splits = load(*args, **options)
            parts = tuple(map(tuple, (splits.train, splits.val, splits.test)))
            return {"parts": parts, "classes": splits.classes, "pool": splits.pool and tuple(splits.pool)}

        content = read_or_make(Path(folder, f"{digest(repr((load.__qualname__, args, options)))}.pt"), load_content)
        train, val, test = (Labelled(*part) for part in content["parts"])
        return Splits(train, val, test, content["classes"], content["pool"] and Pool(*content["pool"]))

    return read_or_load
