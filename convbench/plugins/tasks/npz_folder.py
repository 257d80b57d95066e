"""The user's clips in a folder of .npz files: each holds ``clip`` and ``label``, or ``clips`` and ``labels``.

A ``group``, or ``groups``, tells which clips share a recording.
"""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from convbench.core.errors import ConvbenchError
from convbench.core.record import Clip, Training
from convbench.core.registry import tasks
from convbench.measure.quality.data import Splits
from convbench.measure.quality.run_files import cache_clips
from convbench.measure.quality.user_clips import UserClip, entries, folder, sample_of, split

UNREADABLE = (
    OSError, EOFError, ValueError, AttributeError, TypeError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error,
    lzma.LZMAError,
)  # fmt: skip
"""Errors of numpy and zipfile for files that are damaged, encrypted or packed by a method they do not support."""


@tasks.register("npz-folder")
@cache_clips
def npz_folder(clip: Clip, training: Training, seed: int, *, path: str) -> Splits:
    """Your clips in one .npz file or a folder of them: each holds clip and label, or clips and labels."""
    root = folder(path, "npz-folder", or_file=".npz")
    files = [entry for entry in ([root] if root.is_file() else entries(root)) if entry.suffix == ".npz"]
    if not files:
        raise ConvbenchError(f"{root} has no .npz file: save clips there with numpy.savez(file, clip=..., label=...)")
    samples = [sample for file in files for sample in _samples(file, clip)]
    return split(samples, clip, training, seed, str(root))


def _samples(file: Path, clip: Clip) -> Iterator[UserClip]:
    arrays = _arrays(file)
    if {"clip", "label"} <= arrays.keys():
        yield sample_of([arrays[key] for key in ("clip", "label", "group") if key in arrays], clip, str(file))
        return
    if not {"clips", "labels"} <= arrays.keys():
        raise ConvbenchError(
            f"{file} holds {', '.join(sorted(arrays)) or 'nothing'}: save clip and label, or clips and labels, in it"
        )
    clips = arrays["clips"]
    label_arrays = [arrays[key] for key in ("labels", "groups") if key in arrays]
    for array in label_arrays:
        if clips.ndim < 1 or array.shape not in {(len(clips),), (len(clips), 1)}:
            raise ConvbenchError(
                f"{file} has clips of shape {clips.shape} and labels or groups of shape {array.shape}: save one of "
                "each per clip (for one-hot labels, their argmax)"
            )
    for i, item in enumerate(zip(clips, *label_arrays, strict=True)):
        yield sample_of(item, clip, f"{file}, clip {i}")


def _arrays(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: _array(archive, key, file) for key in archive.files}
    except UNREADABLE as error:
        raise ConvbenchError(f"{file} is not a readable .npz file: {error}; write it with numpy.savez") from error


def _array(archive: Any, key: str, file: Path) -> np.ndarray[Any, Any]:
    try:
        array: np.ndarray[Any, Any] = archive[key]
    except ValueError as error:
        raise ConvbenchError(
            f"{file}: {key} cannot be read: {error}; save an array of uint8, floats, ints or text (no dtype object)"
        ) from error
    return array
