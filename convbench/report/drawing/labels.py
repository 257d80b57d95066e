"""Small labels beside marks, right or left, above or below, each where it covers the fewest other marks and labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes as MplAxes
from matplotlib.transforms import BboxBase
from scipy.optimize import isotonic_regression

from convbench.report.drawing.style import MUTED, TEXT

SIZE, LETTER, LINE = 9.0, 5.3, 10.5
OFFSETS = [(side, height) for height in (4, -11, 15, -22, 26, -33, 37, -44, 48, -55, -66, -77, -88) for side in (1, -1)]
GAP = 6.0
BEYOND = 12.0
"""Points that a label may end right of the plot."""
FAR = 24
"""Points above or below the mark; a label further away is joined to it by a line. So is one that is about as near to
another mark, which it would seem to name."""
CLEARLY = 2.0
"""Points by which a label must be nearer to its own mark than to any other."""


Place = tuple[float, float]


class Box(NamedTuple):
    """Left, bottom, right and top in points."""

    left: float
    bottom: float
    right: float
    top: float

    def covers(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def distance(self, place: Place) -> float:
        """Return the points from a place outside to the nearest point of the box."""
        x, y = place
        return math.hypot(max(self.left - x, 0, x - self.right), max(self.bottom - y, 0, y - self.top))


def label(axes: MplAxes, places: Sequence[Place], words: Sequence[str], other_places: Iterable[Place] = ()) -> None:
    """Write the words beside their places (data coordinates); scales and limits must be set before.

    The words avoid these places, each other and ``other_places``: the marks without words.
    """
    pixels = [_pixel(axes, place) for place in places]
    frame = axes.bbox
    marks = [*pixels, *(_pixel(axes, place) for place in other_places if place not in places)]
    boxes = [Box(x - 4, y - 4, x + 4, y + 4) for x, y in marks]
    for place, (x, y), text in sorted(zip(places, pixels, words, strict=True), key=lambda row: -row[1][1]):
        beside = [(_box(x, y, GAP * side, height, text, side), GAP * side, height, side) for side, height in OFFSETS]
        end = frame.x1 + BEYOND - x  # a label too long for either side ends where the plot does
        within = [(_box(x, y, end, height, text, -1), end, height, -1) for _, height in OFFSETS[::2]]
        choices = [choice for choice in beside if _fits(choice[0], frame)] or within
        box, offset, height, side = min(choices, key=lambda choice: sum(choice[0].covers(other) for other in boxes))
        boxes.append(box)
        others = [box.distance(mark) for mark in marks if mark != (x, y)]
        is_clear = abs(height) <= FAR and box.distance((x, y)) + CLEARLY <= min(others, default=math.inf)
        nearest = (min(max((x - box.left) / (box.right - box.left), 0.0), 1.0), 0.0 if height > 0 else 1.0)
        leader = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "relpos": nearest, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            text, place, xytext=(offset, height), textcoords="offset points", fontsize=SIZE, color=TEXT,
            ha="left" if side > 0 else "right", arrowprops=None if is_clear else leader,
        )  # fmt: skip


def spread(
    heights: Sequence[float], gap: float = LINE, ends: tuple[float, float] = (-math.inf, math.inf)
) -> list[float]:
    """Return heights at least ``gap`` apart in the same order, each as near its original as possible (least squares).

    They stay between ``ends`` if there is room; if not, they continue above.
    """
    order = np.argsort(heights, kind="stable")
    steps = gap * np.arange(len(heights))
    low, high = ends[0], max(ends[0], ends[1] - gap * (len(heights) - 1))
    positions = np.empty(len(heights))
    fit = isotonic_regression(np.asarray(heights, dtype=float)[order] - steps).x
    positions[order] = np.clip(fit, low, high) + steps  # the clipped fit is the best between the ends
    return [float(height) for height in positions]


def _fits(box: Box, frame: BboxBase) -> bool:
    """Whether a label stays on the plot, or just beside it."""
    fits_across = box.left > frame.x0 - 4 and box.right < frame.x1 + BEYOND
    return bool(fits_across and box.bottom > frame.y0 - 4 and box.top < frame.y1 + 4)


def _box(x: float, y: float, offset: float, height: float, text: str, side: int) -> Box:
    """Return the box of a text that begins (``side`` 1) or ends (-1) at the offset from its mark."""
    width = LETTER * len(text)
    left = x + offset - (width if side < 0 else 0.0)
    return Box(left, y + height, left + width, y + height + LINE)


def at_ends(axes: MplAxes, places: Sequence[Place], words: Sequence[str], colours: Sequence[str]) -> None:
    """Write the words right of the axes without overlap, each joined to its place (data coordinates)."""
    frame = axes.bbox
    heights = spread([_pixel(axes, place)[1] for place in places], SIZE + 2.0, (frame.y0, frame.y1))
    for place, height, text, colour in zip(places, heights, words, colours, strict=True):
        position = (1.0 + 14 / frame.width, (height - frame.y0) / frame.height)
        axes.annotate(
            text, place, xytext=position, textcoords="axes fraction", fontsize=SIZE, color=TEXT, va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 4},
        )  # fmt: skip


def _pixel(axes: MplAxes, place: Place) -> Place:
    x, y = map(float, axes.transData.transform(place))
    return x, y
