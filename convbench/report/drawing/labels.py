"""Small labels beside marks, each where it covers the least of other labels, marks and lines."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes as MplAxes
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from convbench.report.drawing.style import MUTED, TEXT, text_width

SIZE, LINE = 9.0, 10.5
HEIGHTS = (4, -11, 15, -22, 26, -33, 37, -44, 48, -55, 59, -66, 70, -77, 81, -88)
GAPS = (6.0, 18.0, 36.0, 60.0)
"""Points above or below a mark, and right or left of it, at which a label may begin."""
BEYOND = 12.0
"""Points that a label may end right of the plot."""
FAR = 24
"""Points above or below the mark; a label further away is joined to it by a line. So is one that is about as near to
another mark, which it would seem to name."""
CLEARLY = 2.0
"""Points by which a label must be nearer to its own mark than to any other."""
STEP = 3.0
"""Points between the places along a line that a label should not cover."""
LABEL, MARK, ON_LINE, JOINED = 400.0, 100.0, 10.0, 12.0
"""How many points further away a label goes rather than cover a label, a mark or a place of a line, or be joined."""


Position = tuple[float, float]
Floats = NDArray[np.float64]
"""Boxes have a row each: left, bottom, right and top in points. Places have x and y."""


def label(axes: MplAxes, places: Sequence[Position], words: Sequence[str]) -> None:
    """Write the words beside their places (data coordinates). Limits must be set, and marks and lines drawn, before.

    The words avoid all marks and lines of the axes, and each other.
    """
    pixels = axes.transData.transform(np.reshape(places, (-1, 2)))
    marks = np.concatenate(
        [pixels, *(axes.transData.transform(np.asarray(scatter.get_offsets())) for scatter in axes.collections)]
    )
    on_lines, labels = _on_lines(axes), np.empty((0, 4))
    for place, mark, text in sorted(zip(places, pixels, words, strict=True), key=lambda row: -row[1][1]):
        offsets, boxes = _choices(axes, mark, text_width(text, SIZE))
        others = marks[np.hypot(*(marks - mark).T) > 1.0]
        ends = np.clip(mark, boxes[:, :2], boxes[:, 2:])
        distances = np.hypot(*(ends - mark).T)
        is_joined = distances + CLEARLY > _distances(boxes, others).min(axis=1, initial=math.inf)
        is_joined |= abs(offsets[:, 1]) > FAR
        leaders = np.linspace(mark, ends, 16)
        crossings = _covers(labels, leaders.reshape(-1, 2)).any(axis=0).reshape(16, -1).sum(axis=0)
        cost = np.hypot(*offsets.T) + MARK * _covers(boxes, marks, room=4.0).sum(axis=1)
        cost += ON_LINE * _covers(boxes, on_lines, room=2.0).sum(axis=1) + LABEL * _overlaps(boxes, labels)
        cost += is_joined * (JOINED + ON_LINE * crossings)
        best = int(np.argmin(cost))
        labels = np.vstack([labels, boxes[best]])
        if is_joined[best]:
            on_lines = np.concatenate([on_lines, leaders[:, best]])
        is_left = boxes[best, 0] < mark[0] + offsets[best, 0]  # the label ends at its offset
        axes.annotate(
            text, place, xytext=offsets[best].tolist(), textcoords="offset points", fontsize=SIZE, color=TEXT,
            ha="right" if is_left else "left", arrowprops=_leader(boxes[best], ends[best]) if is_joined[best] else None,
        )  # fmt: skip


def _leader(box: Floats, end: Floats) -> dict[str, Any]:
    """Return the line from a place at the rim of a label's box to its mark."""
    relative = ((end - box[:2]) / (box[2:] - box[:2])).tolist()
    return {"arrowstyle": "-", "color": MUTED, "linewidth": 0.5, "relpos": relative, "shrinkA": 0, "shrinkB": 3}


def _choices(axes: MplAxes, mark: Floats, width: float) -> tuple[Floats, Floats]:
    """Return the offsets of a label's beginning or end from its mark, and its boxes: those that stay on the plot.

    A label too long for either side ends where the plot does.
    """
    frame = axes.bbox
    beside = np.array([(side * gap, height) for gap, height, side in itertools.product(GAPS, HEIGHTS, (1, -1))])
    boxes = _boxes(mark + beside, np.where(beside[:, 0] < 0, width, 0.0), width)
    left, bottom, right, top = boxes.T
    fits = (left > frame.x0 + 1) & (right < frame.x1 + BEYOND) & (bottom > frame.y0 + 1) & (top < frame.y1 + 4)
    if fits.any():
        return beside[fits], boxes[fits]
    at_end = np.array([(frame.x1 + BEYOND - mark[0], height) for height in HEIGHTS])
    return at_end, _boxes(mark + at_end, width, width)


def _boxes(places: Floats, before: Floats | float, width: float) -> Floats:
    """Return the boxes of texts of which the part ``before`` lies left of its place."""
    left, bottom = places[:, 0] - before, places[:, 1]
    return np.column_stack([left, bottom, left + width, bottom + LINE])


def _covers(boxes: Floats, places: Floats, room: float = 0.0) -> NDArray[np.bool_]:
    """Return which places (columns) each box (rows) covers, with this room around it."""
    ends = boxes[:, None]
    is_inside = (ends[..., :2] - room < places) & (places < ends[..., 2:] + room)
    return np.asarray(is_inside.all(axis=-1))


def _overlaps(boxes: Floats, others: Floats) -> Floats:
    """Return how many of the other boxes each box overlaps."""
    ends = boxes[:, None]
    overlap = (ends[..., :2] < others[:, 2:]) & (others[:, :2] < ends[..., 2:])
    return np.asarray(overlap.all(axis=-1).sum(axis=1))


def _distances(boxes: Floats, places: Floats) -> Floats:
    """Return the points from each box (rows) to each place (columns)."""
    ends = boxes[:, None]
    return np.asarray(np.linalg.norm(places - np.clip(places, ends[..., :2], ends[..., 2:]), axis=-1))


def _on_lines(axes: MplAxes) -> Floats:
    """Return places along all lines of the axes."""
    pieces = [np.empty((0, 2))]
    for line in axes.lines:
        pixels = line.get_transform().transform(line.get_xydata())
        pieces += [_between(begin, end) for begin, end in itertools.pairwise(pixels) if np.isfinite([begin, end]).all()]
    return np.concatenate(pieces)


def _between(begin: Sequence[float] | Floats, end: Sequence[float] | Floats) -> Floats:
    """Return places along a straight line, ``STEP`` or less apart."""
    return np.linspace(begin, end, 2 + int(math.dist(begin, end) / STEP))


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


def at_ends(axes: MplAxes, places: Sequence[Position], words: Sequence[str], colours: Sequence[str]) -> None:
    """Write the words right of the axes without overlap, each joined to its place (data coordinates)."""
    frame = axes.bbox
    heights = spread(axes.transData.transform(places)[:, 1].tolist(), SIZE + 2.0, (frame.y0, frame.y1))
    for (x, y), height, text, colour in zip(places, heights, words, colours, strict=True):
        end_x, end_y = axes.transData.inverted().transform((frame.x1 + BEYOND, height))
        axes.plot([x, end_x], [y, end_y], color=colour, linewidth=0.8, clip_on=False)
        axes.annotate(
            text, (end_x, end_y), xytext=(2, 0), textcoords="offset points", fontsize=SIZE, color=TEXT, va="center",
            annotation_clip=False,
        )  # fmt: skip
