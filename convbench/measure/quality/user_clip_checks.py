"""Check one clip and one label of a user's, and explain what is wrong with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from convbench.core.errors import ConvbenchError
from convbench.core.option_types import word_of
from convbench.core.record import Clip

Pixels = npt.NDArray[Any]
Label = int | str


def check_order(frames: Any, label: Any, source: str) -> None:
    """Raise ConvbenchError if an item is a batch of clips with their labels, or a label followed by its clip."""
    frames_axes, label_axes = getattr(frames, "ndim", 0), getattr(label, "ndim", 0)
    are_labels = label_axes == 1 or isinstance(label, list | tuple)
    if frames_axes == 5 and are_labels and len(frames) == len(label):
        raise ConvbenchError(
            f"{source} is a batch of {len(frames)}: yield its clips one by one, for instance by returning the Dataset "
            "instead of its DataLoader"
        )
    if frames_axes < 3 <= label_axes:
        raise ConvbenchError(f"{source} has its label first: yield the clip, then the label")


def check_frames(frames: Any, clip: Clip, source: str) -> Pixels:
    """Return a copy of the frames as (T, C, H, W), float32 or uint8; an array (T, H, W) is accepted if C is 1.

    Raises ConvbenchError if the shape is not the clip's or the values are not pixels.
    """
    pixels = _reshape(_numbers(frames, source), clip, source)
    if pixels.dtype != np.uint8 and not np.isfinite(pixels).all():
        index = tuple(map(int, np.argwhere(~np.isfinite(pixels))[0]))
        raise ConvbenchError(
            f"{source} has NaN or infinite values, the first at (t, c, y, x) = {index}: clean the clip or leave it out"
        )
    return pixels


def as_floats(pixels: Pixels) -> torch.Tensor:
    """Frames as float32: uint8 scaled to [0, 1], floats unchanged."""
    tensor = torch.from_numpy(pixels)
    return tensor / 255 if pixels.dtype == np.uint8 else tensor


def label_of(label: Any, source: str) -> Label:
    """Return a class as a plain int or text: bools and bytes become text, a whole float an int, a member its value.

    Raises ConvbenchError for anything else.
    """
    name = word_of(_plain_value(label))
    if name is None or (isinstance(name, float) and math.isnan(name)):
        raise ConvbenchError(f"{source} has no label: give every clip the int or text that names its class")
    if not isinstance(name, int | str):
        advice = "only classes are learned here, so sort other targets into classes first"
        if isinstance(name, list | tuple | set | np.ndarray | torch.Tensor):
            advice = "name one of several classes, for instance by argmax of a one-hot row"
        raise ConvbenchError(
            f"{source} has the label {str(name)[:40]!r} ({type(name).__name__}): a label is an int or text; {advice}"
        )
    return name


def group_of(group: Any) -> str | None:
    """The name of a group as text, whatever its type."""
    name = _plain_value(group)
    return None if name is None else str(name)


def _plain_value(value: Any) -> Any:
    item = (
        value.item()
        if isinstance(value, np.ndarray | np.generic | torch.Tensor) and np.prod(tuple(value.shape)) == 1
        else value
    )
    if isinstance(item, bool):
        return str(item)
    if isinstance(item, bytes):
        return item.decode(errors="replace")
    return int(item) if isinstance(item, float) and item.is_integer() else item


def _numbers(frames: Any, source: str) -> Pixels:
    try:
        if isinstance(frames, torch.Tensor):
            frames = frames.detach().cpu()
            frames = (frames.float() if frames.is_floating_point() else frames).numpy()
        data = np.asarray(frames)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConvbenchError(f"{source} is not an array: {error}; give an array or a tensor (T, C, H, W)") from error
    if data.dtype == np.uint8:
        return data.copy()
    if data.dtype.kind == "O" and not isinstance(frames, np.ndarray):
        raise ConvbenchError(
            f"{source} is of type {type(frames).__name__}, not an array of numbers: read it in your function, and give "
            "an array or a tensor (T, C, H, W)"
        )
    if data.dtype.kind != "f":
        raise ConvbenchError(
            f"{source} has dtype {data.dtype}: give uint8 (0 to 255, scaled to [0, 1]) or a float type (taken as it is)"
        )
    with np.errstate(over="ignore"):
        return np.array(data, dtype=np.float32)


def _reshape(pixels: Pixels, clip: Clip, source: str) -> Pixels:
    shape = (clip.frames, clip.channels, clip.height, clip.width)
    frames = pixels[:, None] if pixels.ndim == 3 else pixels
    if frames.shape != shape:
        raise ConvbenchError(
            f"{source} has shape {pixels.shape}, and the suite's clip {clip} asks for (T, C, H, W) = {shape}: "
            + _advice(pixels.shape, clip)
        )
    return frames


def _advice(shape: tuple[int, ...], clip: Clip) -> str:
    if len(shape) not in {3, 4} or min(shape) < 1:
        return "make every clip (T, C, H, W)"
    if len(shape) == 4 and shape[3] in {1, 3, 4} and shape[1] not in {1, 3, 4}:
        return "its channels seem to come last: move them with clip.transpose(0, 3, 1, 2)"
    frames, *channels, height, width = shape
    actual = Clip(clip.batch, frames, channels[0] if channels else 1, height, width)
    return f"write `clip: {actual}` in the suite, or resize the clips"
