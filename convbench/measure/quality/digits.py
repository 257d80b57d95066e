"""Real handwritten digits on a canvas: scikit-learn's, split before anything is drawn, scaled and stamped.

A digit's box is a square of 0.45 of the canvas's shorter side. Positions are whole pixels, so a digit that moves over a
torus keeps every pixel's value. ``drift`` moves it in one of eight directions, at the same speed in every clip.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from convbench.core.errors import Impossible, Unavailable
from convbench.core.record import Clip, Training
from convbench.measure.quality.data import Labelled, Splits
from convbench.measure.quality.splitting import SOURCES, Indices, random, stratify

CLASSES = tuple("0123456789")
BOX = 0.45
HELD_OUT = 0.2
LEAST_SIDE = 16
DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
STEPS: Indices = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])


class Digits(NamedTuple):
    """Source digits (N, 8, 8), float32 in [0, 1], their classes (N,) and their rows (N,) in scikit-learn's set."""

    images: torch.Tensor
    labels: Indices
    rows: Indices

    def resize(self, size: int) -> torch.Tensor:
        """The images resized to (N, size, size)."""
        antialias = size < self.images.shape[-1]
        return F.interpolate(self.images[:, None], (size, size), mode="bilinear", antialias=antialias)[:, 0]

    def of_classes(self, labels: Indices, rng: np.random.Generator) -> Indices:
        """Draw a random digit for each of the class labels, as indices of these digits."""
        order = np.argsort(self.labels, kind="stable")
        begins = np.searchsorted(self.labels[order], np.arange(len(CLASSES) + 1))
        return order[rng.integers(begins[labels], begins[labels + 1])]


class Sources(NamedTuple):
    """Digits from which the clips of each split are drawn; no digit is in two of them."""

    train: Digits
    val: Digits
    test: Digits


class PlacedDigits(NamedTuple):
    """Frames (N, C, H, W) with one digit each, its class (N,) and its centre (N, 2) as (y, x) in [0, 1]."""

    frames: torch.Tensor
    labels: torch.Tensor
    centres: torch.Tensor


def sources(seed: int) -> Sources:
    """The 1,797 digits, stratified by class: 60 % for training, 20 % for validation, 20 % for testing."""
    images, labels = _all_digits()
    parts = stratify(labels, HELD_OUT, random(seed, SOURCES))
    return Sources(*(Digits(images[torch.from_numpy(rows)], labels[rows], rows) for rows in parts))


def draw_splits(
    draw: Callable[[Digits, int, np.random.Generator], Labelled],
    classes: tuple[str, ...],
    training: Training,
    seed: int,
) -> Splits:
    """Draw the clips of each split from its own digits with its own random numbers."""
    counts = (training.train_clips, training.val_clips, training.test_clips)
    train, val, test = (
        draw(digits, count, random(seed, use))
        for use, (digits, count) in enumerate(zip(sources(seed), counts, strict=True), start=1)
    )
    return Splits(train, val, test, classes)


def place_digits(digits: Digits, clip: Clip, count: int, rng: np.random.Generator) -> PlacedDigits:
    """Draw single frames with a random digit anywhere inside the canvas."""
    size = box(clip)
    indices = rng.integers(len(digits.labels), size=count)
    corners = rng.integers((clip.height - size + 1, clip.width - size + 1), size=(count, 1, 2))
    canvas = torch.zeros(count, 1, clip.height, clip.width)
    stamp(canvas, digits.resize(size)[indices], corners)
    centres = (corners[:, 0] + size / 2) / (clip.height, clip.width)
    labels = torch.from_numpy(digits.labels[indices])
    return PlacedDigits(in_channels(canvas, clip)[:, 0], labels, torch.from_numpy(centres).float())


def box(clip: Clip, share: float = BOX) -> int:
    """Side in pixels of a digit's box on the clip's frames. Raises Impossible if no digit would be legible."""
    shorter = min(clip.height, clip.width)
    if shorter < LEAST_SIDE:
        smallest = f"{max(clip.height, LEAST_SIDE)}x{max(clip.width, LEAST_SIDE)}"
        raise Impossible(
            f"the frames of clip {clip} are too small for a digit to be read: make them at least {smallest}"
        )
    return round(share * shorter)


def at_least(frames: int, clip: Clip, reason: str) -> None:
    """Raise Impossible if a task needs more frames than the clip has."""
    if clip.frames < frames:
        raise Impossible(f"clip {clip} has {clip.frames} frames and {reason}: give it at least {frames}")


def stamp(canvas: torch.Tensor, images: torch.Tensor, corners: Indices) -> None:
    """Put images (N, S, S) on the frames of ``canvas`` (N, T, H, W), across its edges as on a torus.

    ``corners`` (N, T or 1, 2) are the (y, x) of the upper left pixel.
    """
    count, frames, height, width = canvas.shape
    offsets = torch.arange(images.shape[-1])
    origins = torch.from_numpy(np.broadcast_to(corners, (count, frames, 2)).copy())
    rows = (origins[..., 0, None] + offsets) % height
    columns = (origins[..., 1, None] + offsets) % width
    clips, times = torch.arange(count)[:, None, None, None], torch.arange(frames)[:, None, None]
    canvas[clips, times, rows[..., :, None], columns[..., None, :]] = images[:, None]


def in_channels(canvas: torch.Tensor, clip: Clip) -> torch.Tensor:
    """Frames (N, T, H, W) as clips (N, T, C, H, W): a view of the one channel C times, without a copy."""
    return canvas[:, :, None].expand(-1, -1, clip.channels, -1, -1)


def speed(clip: Clip) -> int:
    """Pixels per frame along each axis: a sixteenth of the shorter side."""
    return max(1, round(min(clip.height, clip.width) / 16))


def start(clip: Clip, count: int, jitter: float, rng: np.random.Generator) -> Indices:
    """Centres (N, 2) of the digits in the first frame, uniform over ``jitter`` of each side about the middle."""
    sides = np.array((clip.height, clip.width))
    starts: Indices = np.rint(sides / 2 + (rng.random((count, 2)) - 0.5) * jitter * sides).astype(np.int64)
    return starts


def drift(clip: Clip, digits: Digits, indices: Indices, starts: Indices, steps: Indices) -> torch.Tensor:
    """Clips (N, T, C, H, W) of the digits at ``indices``, each from its start (N, 2) in its step's direction (N, 2)."""
    size = box(clip)
    corners = (starts - size // 2)[:, None] + speed(clip) * np.arange(clip.frames)[:, None] * steps[:, None]
    canvas = torch.zeros(len(indices), clip.frames, clip.height, clip.width)
    stamp(canvas, digits.resize(size)[indices], corners)
    return in_channels(canvas, clip)


@cache
def _all_digits() -> tuple[torch.Tensor, Indices]:
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        raise Unavailable("tasks of handwritten digits need scikit-learn: pip install scikit-learn") from error
    dataset = load_digits()
    return torch.from_numpy(dataset.images / 16).float(), dataset.target.astype(np.int64)
