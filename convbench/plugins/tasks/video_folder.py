"""The user's videos, a folder per class: frames evenly over each video, scaled to the clip's size, grey or RGB."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convbench.core.errors import ConvbenchError, Impossible, Unavailable
from convbench.core.record import Clip, Training
from convbench.core.registry import tasks
from convbench.measure.quality.clip_folders import entries, folder
from convbench.measure.quality.data import Splits
from convbench.measure.quality.user_clip_checks import Pixels
from convbench.measure.quality.user_clips import Sample, split

if TYPE_CHECKING:
    import av

FORMATS = {1: "gray", 3: "rgb24"}


@tasks.register("video-folder")
def video_folder(clip: Clip, training: Training, seed: int, *, path: str) -> Splits:
    """Your videos, a folder per class: frames sampled evenly and scaled to the clip, grey or RGB by its channels."""
    _need_av()
    if clip.channels not in FORMATS:
        raise Impossible(
            f"clip {clip} has {clip.channels} channels and a video has 1 (grey) or 3 (RGB): set one of them"
        )
    root = folder(path, "video-folder")
    classes = [entry for entry in entries(root) if entry.is_dir()]
    samples = [
        Sample(partial(decoded, file, clip), kind.name, str(file))
        for kind in classes
        for file in entries(kind)
        if file.is_file()
    ]
    if not samples:
        raise ConvbenchError(
            f"{root} has no folder with videos in it: put the videos of each class in a folder of its own"
        )
    return split(samples, clip, training, seed, str(root))


def decoded(file: Path, clip: Clip) -> Pixels:
    """T frames of a video as (T, C, H, W), uint8; frames repeat where it has fewer.

    Raises ConvbenchError where it does not decode or has no frames.
    """
    import av

    try:
        with av.open(str(file)) as container:
            frames = [_scaled(frame, clip) for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        reason = "it has no video in it" if isinstance(error, IndexError) else error.strerror
        raise ConvbenchError(f"{file} does not decode: {reason}; convert the video or take it out") from error
    if not frames:
        raise ConvbenchError(f"{file} has no frames: take it out")
    times = np.rint(np.linspace(0, len(frames) - 1, clip.frames)).astype(int)
    return np.stack([frames[time] for time in times])


def _scaled(frame: av.VideoFrame, clip: Clip) -> Pixels:
    """A frame as (C, H, W), uint8."""
    kind = FORMATS[clip.channels]
    pixels = frame.to_ndarray(format=kind, width=clip.width, height=clip.height, interpolation="AREA")
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _need_av() -> None:
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise Unavailable("videos are decoded by PyAV: pip install 'convbench[video]'") from error
