"""The user's videos, one folder per class: frames sampled evenly and scaled to the clip's size, grey or RGB.

A video is a file, or a folder of its frames as pictures. The names of videos may tell which share a recording.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from convbench.core.errors import ConvbenchError, Impossible, Unavailable
from convbench.core.record import Clip, Training
from convbench.core.registry import tasks
from convbench.measure import progress
from convbench.measure.quality.data import Splits
from convbench.measure.quality.run_files import cache_clips
from convbench.measure.quality.user_clip_checks import Pixels
from convbench.measure.quality.user_clips import UserClip, entries, folder, split

if TYPE_CHECKING:
    import av

T = TypeVar("T")
FORMATS = {1: "gray", 3: "rgb24"}


@tasks.register("video-folder")
@cache_clips
def video_folder(clip: Clip, training: Training, seed: int, *, path: str, groups: str | None = None) -> Splits:
    """Your videos, one folder per class: frames sampled evenly and scaled to the clip, grey or RGB by its channels.

    ``groups`` is a regular expression for names of videos: those in which it matches the same text, or the same text in
    its first brackets, share a recording.
    """
    _need_av()
    if clip.channels not in FORMATS:
        raise Impossible(
            f"clip {clip} has {clip.channels} channels, but a video has 1 (grey) or 3 (RGB): set one of these"
        )
    root = folder(path, "video-folder")
    classes = [entry for entry in entries(root) if entry.is_dir()]
    if not classes:
        raise ConvbenchError(
            f"{root} has no folder with videos in it: put the videos of each class in a folder of its own"
        )
    group_of = _group_of(groups)
    samples = [
        UserClip(partial(decode_frames, files, clip), kind.name, str(video), group_of(video))
        for kind in classes
        for video, files in _videos(kind, clip.frames)
    ]
    return split(samples, clip, training, seed, str(root))


def _videos(kind: Path, count: int) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each video of a class with the files it is read from: the video, or ``count`` pictures of its folder.

    Raises ConvbenchError if the class has no videos, or the folder of a video no pictures.
    """
    videos = entries(kind)
    if not videos:
        raise ConvbenchError(f"{kind} has no videos in it: put the videos of this class there, or remove the folder")
    for video in videos:
        pictures = _pictures(video) if video.is_dir() else []
        if video.is_dir() and not pictures:
            raise ConvbenchError(
                f"{video} has no pictures in it: the folder of a class holds videos, each a file or a folder of its "
                "frames; convbench itself splits them into training and test"
            )
        yield video, _sample_evenly(pictures, count) if pictures else [video]


def _group_of(groups: str | None) -> Callable[[Path], str | None]:
    """Return a function that names the recording of a video.

    Raises ConvbenchError if ``groups`` is not a regular expression.
    """
    if groups is None:
        return lambda _: None
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise ConvbenchError(f"video-folder: groups={groups} is not a regular expression: {error}") from error

    def group(video: Path) -> str:
        match = pattern.search(video.name)
        if match is None or match[match.re.groups and 1] is None:
            raise ConvbenchError(
                f"{video}: groups={groups} matches nothing in its name: write an expression that matches all names"
            )
        return match[match.re.groups and 1]

    return group


def _pictures(folder: Path) -> list[Path]:
    """Return the pictures in a folder in the order of the numbers in their names: frame 10 comes after frame 9."""
    pictures = [file for file in entries(folder) if (mimetypes.guess_type(file.name)[0] or "").startswith("image/")]
    return sorted(pictures, key=lambda file: ([int(number) for number in re.findall(r"\d+", file.name)], file.name))


def decode_frames(files: Sequence[Path], clip: Clip) -> Pixels:
    """Return T frames of a video file, or T pictures, as (T, C, H, W), uint8; frames repeat if there are fewer.

    Raises ConvbenchError if a file cannot be decoded or has no frames.
    """
    progress.tell(f"decoding {files[0]}", [])
    if len(files) == 1:
        return np.stack(_frames(files[0], clip))
    return np.stack([_frames(picture, replace(clip, frames=1))[0] for picture in files])


def _sample_evenly(frames: Sequence[T], count: int) -> list[T]:
    return [frames[time] for time in np.rint(np.linspace(0, len(frames) - 1, count)).astype(int)]


def _frames(file: Path, clip: Clip) -> list[Pixels]:
    """Return T scaled frames, evenly spaced over a file. Decoding it twice is quicker than scaling every frame."""
    frame_count = sum(1 for _ in _decode(file))
    if not frame_count:
        raise ConvbenchError(f"{file} has no frames: remove it")
    times = _sample_evenly(range(frame_count), clip.frames)
    frame_by_time = {time: _scale(frame, clip) for time, frame in enumerate(_decode(file)) if time in times}
    return [frame_by_time[time] for time in times]


def _decode(file: Path) -> Iterator[av.VideoFrame]:
    """Yield every frame of a file. Raises ConvbenchError if it cannot be decoded."""
    import av

    try:
        with av.open(f"file:{file}") as container:  # else the part of a name before a colon is a scheme
            yield from container.decode(video=0)
    except (av.FFmpegError, IndexError) as error:
        reason = "it contains no video" if isinstance(error, IndexError) else error.strerror
        raise ConvbenchError(f"{file} cannot be decoded: {reason}; convert the video or remove it") from error


def _scale(frame: av.VideoFrame, clip: Clip) -> Pixels:
    """Return a frame at the clip's size as (C, H, W), uint8."""
    kind = FORMATS[clip.channels]
    pixels = frame.to_ndarray(format=kind, width=clip.width, height=clip.height, interpolation="AREA")
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _need_av() -> None:
    try:
        import av  # noqa: F401
    except ImportError as error:
        raise Unavailable("videos are decoded by PyAV: pip install 'convbench[video]'") from error
