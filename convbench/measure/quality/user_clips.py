"""A user's own labelled clips: read from the user's function, and split by class wherever they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from convbench.core import imports
from convbench.core.code import located
from convbench.core.errors import ConvbenchError, line_of
from convbench.core.imports import import_path
from convbench.core.option_types import settings
from convbench.core.record import Choice, Clip, Training
from convbench.core.scales import gib
from convbench.core.text import first_names, joined
from convbench.measure import progress
from convbench.measure.machine.environment import available_memory
from convbench.measure.quality.data import Labelled, Pool, Splits
from convbench.measure.quality.run_files import cache_clips
from convbench.measure.quality.splitting import SOURCES, Indices, random, stratify, stratify_groups
from convbench.measure.quality.user_clip_checks import (
    Label,
    Pixels,
    as_floats,
    check_frames,
    check_order,
    group_of,
    label_of,
)
from convbench.models import network

LEAST_CLIPS = 6
CLIPS_A_SIGN = 10
"""Clips that are loaded between two progress reports; the message of a time limit shows the last report."""
SHARE_OF_MEMORY = 0.5
"""Share of the free memory that clips may take: those that are chosen from them are copied."""
HELD_OUT = 0.15
_PAIRS = "pairs of a clip (T, C, H, W) and its label, an int or text; a third may name the recording"


class UserClip(NamedTuple):
    """A clip that is loaded on demand.

    ``frames`` returns (T, C, H, W) uint8 or float32. ``group`` names what the clip shares with others, such as a
    recording.
    """

    frames: Callable[[], Pixels]
    label: Label
    source: str
    group: str | None = None


@cache_clips
def from_function(choice: Choice, clip: Clip, training: Training, seed: int) -> Splits:
    """Load the (clip, label) pairs that the user's ``package.module:function`` yields when called with the options.

    Raises ConvbenchError that says which clip is wrong and how.
    """
    function = import_path(choice.name)
    if not callable(function):
        raise ConvbenchError(
            f"{choice.name} is of type {type(function).__name__}: make it a function that yields {_PAIRS}"
        )
    with network.preserve_random_state(), torch.random.fork_rng(devices=[]):
        network.seed_all(0)  # the function draws the same in every process, whatever the split's seed
        samples = list(_limit_memory(_samples(function, choice, clip), choice.name))
    return split(samples, clip, training, seed, choice.name)


def _samples(function: Callable[..., Any], choice: Choice, clip: Clip) -> Iterator[UserClip]:
    for i, item in enumerate(_items(function, settings(function, choice.options), choice.name)):
        if i % CLIPS_A_SIGN == 0:
            progress.tell(f"loading clip {i:,} of {choice.name}", [])
        yield sample_of(item, clip, f"{choice.name}, clip {i}")


def _limit_memory(samples: Iterable[UserClip], name: str) -> Iterator[UserClip]:
    """Yield the samples, which are all kept. Raises ConvbenchError if they take more than their share of memory."""
    room, size = SHARE_OF_MEMORY * available_memory(), 0
    for count, sample in enumerate(samples, start=1):
        size += sample.frames().nbytes
        if size > room:
            raise ConvbenchError(
                f"{name} has yielded {count:,} clips and goes on, but {gib(size)} are half of the free memory: if it "
                "never ends, limit it, for instance by an option count; else yield fewer clips, or uint8 clips, which "
                "take a quarter"
            )
        yield sample


def sample_of(item: Sequence[Any], clip: Clip, source: str) -> UserClip:
    """Return a checked sample whose clip is in memory, from a clip, its label, and its group if it has one."""
    frames, label, *group = item
    check_order(frames, label, source)
    name = label_of(label, source)
    pixels = check_frames(frames, clip, source)
    return UserClip(lambda: pixels, name, source, group_of(group[0]) if group else None)


def split(samples: Sequence[UserClip], clip: Clip, training: Training, seed: int, origin: str) -> Splits:
    """Split samples: 70 % of each class to train, 15 % each to validate and to test, up to ``training``'s counts.

    A split that should be shorter than the number of classes has one clip of each all the same. Only clips that are
    used are loaded. The clips of a group are all in one split. ``origin`` says where the clips come from, for messages
    about all of them. Raises ConvbenchError for a single class, or too few clips or groups of a class.
    """
    classes = _classes(samples, origin)
    numbers = np.array([classes.index(sample.label) for sample in samples], dtype=np.int64)
    count = len(classes)  # with many classes, more than the few clips that check a plan
    limits = (max(count, training.train_clips), max(count, training.val_clips), max(count, training.test_clips))
    groups = _groups(samples)
    parts = _parts(numbers, groups, limits, random(seed, SOURCES), origin)
    train, val, test = map(partial(_gather, samples, numbers, clip), parts)
    sources = np.arange(len(samples)) if groups is None else groups
    pool = Pool(int(sources.max()) + 1, tuple(sources[parts[2]].tolist()))
    return Splits(train, val, test, tuple(map(str, classes)), pool)


def _groups(samples: Sequence[UserClip]) -> Indices | None:
    """The number of each sample's group; None if there are no groups."""
    stray = next((sample for sample in samples if sample.group is None), None)
    if stray and all(sample.group is None for sample in samples):
        return None
    if stray:
        raise ConvbenchError(f"{stray.source} has no group, but other clips have one: give every clip a group, or none")
    return np.unique([str(sample.group) for sample in samples], return_inverse=True)[1]


def _parts(
    numbers: Indices, groups: Indices | None, limits: tuple[int, int, int], rng: np.random.Generator, origin: str
) -> tuple[Indices, Indices, Indices]:
    if groups is None:
        return stratify(numbers, HELD_OUT, rng, limits)
    parts = stratify_groups(numbers, groups, HELD_OUT, rng, limits)
    if parts is None:
        raise ConvbenchError(
            f"{origin}: its {groups.max() + 1} groups cannot be split so that every class is in all three parts: each "
            "class needs clips of at least three groups"
        )
    return parts


def _gather(samples: Sequence[UserClip], numbers: Indices, clip: Clip, indices: Indices) -> Labelled:
    clips = torch.empty(len(indices), clip.frames, clip.channels, clip.height, clip.width)
    for place, i in enumerate(indices):
        clips[place] = as_floats(samples[i].frames())
    return Labelled(clips, torch.from_numpy(numbers[indices]))


def _classes(samples: Sequence[UserClip], origin: str) -> list[Label]:
    counts = Counter(sample.label for sample in samples)
    if len({type(label) for label in counts}) > 1:
        raise ConvbenchError(f"{origin} labels some clips with an int and others with text: use one of them")
    if len(counts) == 1:
        raise ConvbenchError(f"{origin} has one class only, {next(iter(counts))!r}: there is nothing to tell apart")
    reasons = [f"{label!r} has {count}" for label, count in counts.items() if count < LEAST_CLIPS]
    if reasons:
        raise ConvbenchError(
            f"{origin} has too few clips of {len(reasons)} of its {len(counts)} classes: "
            f"{joined(first_names(reasons))}; every class needs {LEAST_CLIPS}: add clips or leave the class out"
        )
    return sorted(counts)


def _items(function: Callable[..., Any], options: Mapping[str, Any], name: str) -> Iterator[Sequence[Any]]:
    count = 0
    for count, pair in enumerate(_call(function, options, name), start=1):
        if not isinstance(pair, tuple | list) or len(pair) not in {2, 3}:
            raise ConvbenchError(f"{name}: item {count - 1} is a {_description(pair)}: yield {_PAIRS}")
        yield pair
    if not count:
        raise ConvbenchError(f"{name} yields no clip: yield {_PAIRS}")


def _call(function: Callable[..., Any], options: Mapping[str, Any], name: str) -> Iterator[Any]:
    count = 0
    try:
        items = function(**options)
        if not isinstance(items, Iterable) and hasattr(items, "__getitem__"):  # a data set, with a length or without
            items = map(items.__getitem__, range(len(items))) if hasattr(items, "__len__") else iter(items)
        if not isinstance(items, Iterable):
            raise ConvbenchError(f"{name} returned {type(items).__name__}: make it a generator that yields {_PAIRS}")
        for item in items:
            count += 1
            yield item
    except ConvbenchError:
        raise
    except (Exception, SystemExit) as error:
        suffix = f" after {count} clips" if count else ""
        raise ConvbenchError(
            located(error, f"{name} raised {type(error).__name__}{suffix}: {line_of(error)}")
        ) from error


def _description(item: Any) -> str:
    return f"{type(item).__name__} of {len(item)}" if isinstance(item, tuple | list) else type(item).__name__


def folder(path: str, task: str, or_file: str = "") -> Path:
    """Return the folder at ``path``, or the file with that suffix. Raises ConvbenchError if there is none."""
    try:
        root = Path(path).expanduser()
        if or_file and root.suffix == or_file and root.is_file():
            return root
        fault = "" if root.is_dir() else "is a file" if root.exists() else "does not exist"
    except (OSError, ValueError, RuntimeError) as error:
        fault = f"cannot be a folder ({getattr(error, 'strerror', None) or error})"
    if fault:
        place = imports.working_directory() or "a folder that was deleted"
        raise ConvbenchError(f"{task}: {path} {fault} (from {place}): set path to the folder with the clips")
    return root


def entries(root: Path) -> list[Path]:
    """The entries of a folder in the order of their names, without hidden files."""
    return sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
