"""The user's videos, a folder per class: frames evenly over each video, scaled to the clip's size, grey or RGB.

A video is a file, or a folder of its frames as pictures.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from convbench.core.errors import ConvbenchError, Impossible, Unavailable
from convbench.core.record import Clip, Training
from convbench.core.registry import tasks
from convbench.measure.quality.clip_folders import entries, folder
from convbench.measure.quality.data import Splits
from convbench.measure.quality.kept_clips import kept
from convbench.measure.quality.user_clip_checks import Pixels
from convbench.measure.quality.user_clips import Sample, split

if TYPE_CHECKING:
    import av

T = TypeVar("T")
FORMATS = {1: "gray", 3: "rgb24"}


@tasks.register("video-folder")
@kept
def video_folder(clip: Clip, training: Training, seed: int, *, path: str) -> Splits:
    """Your videos, a folder per class: frames sampled evenly and scaled to the clip, grey or RGB by its channels."""
    _need_av()
    if clip.channels not in FORMATS:
        raise Impossible(
            f"clip {clip} has {clip.channels} channels and a video has 1 (grey) or 3 (RGB): set one of them"
        )
    root = folder(path, "video-folder")
    classes = [entry for entry in entries(root) if entry.is_dir()]
    if not classes:
        raise ConvbenchError(
            f"{root} has no folder with videos in it: put the videos of each class in a folder of its own"
        )
    samples = [
        Sample(partial(decoded, files, clip), kind.name, str(video))
        for kind in classes
        for video, files in _videos(kind, clip.frames)
    ]
    return split(samples, clip, training, seed, str(root))


def _videos(kind: Path, count: int) -> Iterator[tuple[Path, list[Path]]]:
    """The videos of a class with what each is read from: its file, or ``count`` pictures of its folder.

    Raises ConvbenchError where there are none, or folders without pictures.
    """
    videos = entries(kind)
    if not videos:
        raise ConvbenchError(f"{kind} has no videos in it: put those of its class there, or take it out")
    for video in videos:
        pictures = _pictures(video) if video.is_dir() else []
        if video.is_dir() and not pictures:
            raise ConvbenchError(
                f"{video} has no pictures in it: a class's folder has its videos, each a file or a folder of its "
                "frames; which are for training and which for tests is drawn"
            )
        yield video, _evenly(pictures, count) if pictures else [video]


def _pictures(folder: Path) -> list[Path]:
    """The pictures in a folder in the order of the numbers in their names: frame 10 comes after frame 9."""
    pictures = [file for file in entries(folder) if (mimetypes.guess_type(file.name)[0] or "").startswith("image/")]
    return sorted(pictures, key=lambda file: ([int(number) for number in re.findall(r"\d+", file.name)], file.name))


def decoded(files: Sequence[Path], clip: Clip) -> Pixels:
    """T frames of a video's file, or of T pictures, as (T, C, H, W), uint8; frames repeat where there are fewer.

    Raises ConvbenchError where one does not decode or has no frames.
    """
    if len(files) == 1:
        return np.stack(_evenly(_frames(files[0], clip), clip.frames))
    return np.stack([_frames(picture, clip)[0] for picture in files])


def _evenly(frames: Sequence[T], count: int) -> list[T]:
    """So many of them, from the first to the last."""
    return [frames[time] for time in np.rint(np.linspace(0, len(frames) - 1, count)).astype(int)]


def _frames(file: Path, clip: Clip) -> list[Pixels]:
    """Every frame of a file, scaled; a picture has one."""
    import av

    try:
        with av.open(str(file)) as container:
            frames = [_scaled(frame, clip) for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        reason = "it has no video in it" if isinstance(error, IndexError) else error.strerror
        raise ConvbenchError(f"{file} does not decode: {reason}; convert the video or take it out") from error
    if not frames:
        raise ConvbenchError(f"{file} has no frames: take it out")
    return frames


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
