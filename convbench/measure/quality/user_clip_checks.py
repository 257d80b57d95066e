"""One clip and one label of a user's: what they may be, and what is said of any other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from convbench.core.errors import ConvbenchError, Impossible
from convbench.core.record import Clip

Pixels = npt.NDArray[Any]
Label = int | str


def checked(frames: Any, clip: Clip, where: str) -> Pixels:
    """A copy of the frames as (T, C, H, W), float32 or uint8; an array or tensor (T, H, W) will do where C is 1.

    Raises Impossible where the shape is not the clip's, ConvbenchError where the values are no pixels.
    """
    pixels = _shaped(_numbers(frames, where), clip, where)
    if pixels.dtype != np.uint8 and not np.isfinite(pixels).all():
        at = tuple(map(int, np.argwhere(~np.isfinite(pixels))[0]))
        raise ConvbenchError(
            f"{where} has NaN or infinite values, the first at (t, c, y, x) = {at}: clean the clip or leave it out"
        )
    return pixels


def as_floats(pixels: Pixels) -> torch.Tensor:
    """Frames as float32: uint8 scaled to [0, 1], floats as they are."""
    tensor = torch.from_numpy(pixels)
    return tensor / 255 if pixels.dtype == np.uint8 else tensor


def label_of(label: Any, where: str) -> Label:
    """A class as a plain int or text: a truth is text, bytes are, a whole float is an int. Raises ConvbenchError for
    anything else."""
    plain = _plain(label)
    if plain is None or (isinstance(plain, float) and math.isnan(plain)):
        raise ConvbenchError(f"{where} has no label: give every clip the int or text that names its class")
    if not isinstance(plain, int | str):
        advice = "of several classes one is to be named, as by argmax of a one-hot row" if _several(plain) else ""
        advice = advice or "targets that are no classes are not learned here, so sort them into some first"
        raise ConvbenchError(
            f"{where} has the label {str(plain)[:40]!r} ({type(plain).__name__}): a label is an int or text; {advice}"
        )
    return plain


def group_of(group: Any) -> str | None:
    """The name of a group, whatever it is told by."""
    plain = _plain(group)
    return None if plain is None else str(plain)


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.ndarray | np.generic | torch.Tensor) and _single(value) else value
    if isinstance(plain, bool):
        return str(plain)
    if isinstance(plain, bytes):
        return plain.decode(errors="replace")
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _several(label: Any) -> bool:
    return isinstance(label, list | tuple | set | np.ndarray | torch.Tensor)


def _single(label: Any) -> bool:
    return bool(np.prod(tuple(label.shape)) == 1)


def _numbers(frames: Any, where: str) -> Pixels:
    try:
        raw = _detached(frames) if isinstance(frames, torch.Tensor) else np.asarray(frames)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConvbenchError(f"{where} is no array: {error}; give an array or a tensor (T, C, H, W)") from error
    if raw.dtype == np.uint8:
        return raw.copy()
    if raw.dtype.kind != "f":
        raise ConvbenchError(
            f"{where} has dtype {raw.dtype}: give uint8 (0 to 255, scaled to [0, 1]) or a float type (taken as it is)"
        )
    with np.errstate(over="ignore"):
        return np.array(raw, dtype=np.float32)


def _detached(frames: torch.Tensor) -> Pixels:
    plain = frames.detach().cpu()
    pixels: Pixels = (plain.float() if plain.is_floating_point() else plain).numpy()
    return pixels


def _shaped(pixels: Pixels, clip: Clip, where: str) -> Pixels:
    shape = (clip.frames, clip.channels, clip.height, clip.width)
    full = pixels[:, None] if pixels.ndim == 3 and clip.channels == 1 else pixels
    if full.shape != shape:
        raise Impossible(
            f"{where} has shape {pixels.shape}, and the suite's clip {clip} asks for (T, C, H, W) = {shape}: "
            + _advice(pixels.shape, clip)
        )
    return full


def _advice(shape: tuple[int, ...], clip: Clip) -> str:
    if len(shape) not in {3, 4} or min(shape) < 1:
        return "make every clip (T, C, H, W)"
    if len(shape) == 4 and shape[3] in {1, 3, 4} and shape[1] not in {1, 3, 4}:
        return "its channels seem to come last: move them with clip.transpose(0, 3, 1, 2)"
    frames, *channels, height, width = shape
    actual = Clip(clip.batch, frames, channels[0] if channels else 1, height, width)
    return f"write `clip: {actual}` in the suite, or resize the clips"
