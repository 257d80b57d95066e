"""A user's own labelled clips: good functions, and functions that are wrong in a chosen way."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from enum import Enum
from itertools import count
from typing import Any

import numpy as np
import torch

SHAPE = (4, 1, 8, 8)


def clips(*, count: int = 40, colour: bool = False, repeats: int = 1) -> Iterator[tuple[Any, str]]:
    """Yield clips of three classes. The first pixel of a clip is its number, shared only with its repeats.

    Two repeats are of one class; of four repeats, some are of another class.
    """
    shape = (4, 3, 8, 8) if colour else SHAPE
    for i in range(count):
        clip = np.full(shape, 100, dtype=np.uint8)
        clip.flat[0] = i // repeats
        yield clip, ("cat", "dog", "eel")[i // min(repeats, 2) % 3]


def forms(*, form: str) -> Iterator[tuple[Any, int]]:
    """Return clips of one value, such as 0.5 or 51/255, in a form that a user may have."""
    arrays: dict[str, Any] = {
        "uint8": np.full(SHAPE, 51, dtype=np.uint8),
        "float64": np.full(SHAPE, 0.5),
        "big-endian": np.full(SHAPE, 0.5, dtype=">f4"),
        "half": torch.full(SHAPE, 0.5, dtype=torch.bfloat16),
        "gradient": torch.full(SHAPE, 0.5, requires_grad=True),
        "without-channel": torch.full((4, 8, 8), 51, dtype=torch.uint8),
        "lists": np.full(SHAPE, 0.5).tolist(),
        "beyond-one": np.full(SHAPE, -7.5),
    }
    return ((arrays[form], np.int64(i % 2)) for i in range(20))


def reused(*, dtype: str, highest: float = 19) -> Iterator[tuple[Any, Any]]:
    """Yield one buffer, refilled for every clip, as readers of video do."""
    buffer = np.zeros(SHAPE, dtype=dtype)
    for i in range(20):
        buffer[:] = i * highest / 19
        yield buffer, torch.tensor(i % 2)


class Recordings:
    """A dataset like torch's, with ten clips of each of 12 recordings; the first pixel is the recording's number.

    Each recording is of one class, but in the first ``mixed`` recordings one clip in ten is of the other class.
    """

    def __init__(self, *, recordings: int = 12, mixed: int = 0, lacks: bool = False) -> None:
        self.recordings, self.mixed, self.lacks = recordings, mixed, lacks

    def __len__(self) -> int:
        return 10 * self.recordings

    def __getitem__(self, i: int) -> tuple[Any, int, str | None]:
        recording, odd = i // 10, i % 10 == 0 and i // 10 < self.mixed
        clip = torch.zeros(SHAPE, dtype=torch.uint8)
        clip[0, 0, 0, 0] = recording
        return clip, (recording + odd) % 2, None if self.lacks and i == 3 else f"recording {recording}"


class Endings:
    """A data set without a length, which ends by an IndexError."""

    def __getitem__(self, i: int) -> tuple[Any, int]:
        if i == 20:
            raise IndexError
        return torch.full(SHAPE, i / 20), i % 2


def unseeded() -> Iterator[tuple[Any, int]]:
    """Return different clips at each call."""
    return ((np.random.default_rng().random(SHAPE, dtype=np.float32), i % 2) for i in range(20))


def shuffled() -> Iterator[tuple[Any, str]]:
    """Return ``clips`` in an order that Python, numpy and torch draw without a seed."""
    items = list(clips())
    random.shuffle(items)
    return (items[i] for i in np.random.permutation(40)[torch.randperm(40).numpy()])


def endless() -> Iterator[tuple[Any, int]]:
    return ((np.zeros(SHAPE, dtype=np.uint8), i % 2) for i in count())


def plainly(count: int = 40, colour: bool = False) -> Iterator[tuple[Any, str]]:
    """Return ``clips``, but take positional parameters as most functions do."""
    return clips(count=count, colour=colour)


class Animal(Enum):
    CAT = "cat"
    DOG = "dog"


def labels(*, form: str) -> Iterator[tuple[Any, Any]]:
    """Return clips with labels in a form that a user may have."""
    pairs: dict[str, tuple[Any, Any]] = {
        "truth": (False, True), "numpy-truth": (np.False_, np.True_), "bytes": (b"cat", b"dog"),
        "numpy-bytes": (np.bytes_("cat"), np.bytes_("dog")), "whole": (0.0, np.float32(1)),
        "rows": (np.array([0]), torch.tensor([[1]])), "members": (Animal.CAT, Animal.DOG),
    }  # fmt: skip
    return ((np.zeros(SHAPE, dtype=np.uint8), pairs[form][i % 2]) for i in range(20))


def wrong(*, how: str) -> Iterator[Any]:
    """Yield clips of which only clip 3 is wrong."""
    for i in range(20):
        clip: Any = np.zeros(SHAPE, dtype=np.float32)
        label: Any = i % 2
        if i == 3:
            clip, label = _wrong_clip(how, clip), _wrong_label(how, label)
        yield (clip,) if i == 3 and how == "pair" else (clip, label)


def _wrong_clip(how: str, clip: Any) -> Any:
    wrong_clips: dict[str, Any] = {
        "shape": np.zeros((6, 3, 10, 12), dtype=np.float32),
        "grey": np.zeros((5, 10, 12), dtype=np.float32),
        "last": np.zeros((4, 8, 8, 1), dtype=np.float32),
        "flat": np.zeros(5, dtype=np.float32),
        "empty": np.zeros((0, 1, 8, 8), dtype=np.float32),
        "bool": clip > 0,
        "int64": clip.astype(np.int64),
        "complex": clip.astype(np.complex64),
        "object": clip.astype(object),
        "text": "cat.mp4",
        "ragged": [[1.0], [1.0, 2.0]],
        "sparse": torch.zeros(SHAPE).to_sparse(),
        "batch": torch.zeros(2, *SHAPE),
        "batch of texts": torch.zeros(2, *SHAPE),
        "dict": {"video": clip},
        "swapped": 1,
    }
    if how in {"nan", "inf"}:
        clip[2, 0, 1, 5] = float(how)
    return wrong_clips.get(how, clip)


def _wrong_label(how: str, label: Any) -> Any:
    labels = {
        "missing": None, "not-a-number": np.nan, "float": 0.5, "several": np.array([1, 2]), "mixed": "one",
        "batch": torch.tensor([0, 1]), "batch of texts": ("cat", "dog"), "swapped": np.zeros(SHAPE, dtype=np.float32),
    }  # fmt: skip
    return labels.get(how, label)


def one_class() -> Iterator[Any]:
    return ((clip, "cat") for clip, _ in clips())


def few() -> Iterator[Any]:
    return ((clip, "cat" if i < 5 else "dog") for i, (clip, _) in enumerate(clips()))


def many_classes(*, classes: int = 30) -> Iterator[Any]:
    return ((np.zeros(SHAPE, dtype=np.uint8), i % classes) for i in range(6 * classes))


def empty() -> Iterator[Any]:
    return iter(())


def none() -> None:
    return None


def broken() -> Iterator[Any]:
    yield from list(clips())[:7]
    raise OSError("disk on fire")


def ends_the_program() -> Iterator[Any]:
    yield from list(clips())[:7]
    sys.exit("no more")


number = 5
