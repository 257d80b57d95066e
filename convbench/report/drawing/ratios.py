"""Ratios by reducer around 1, for figures of gains over eager and of runs side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.costs.ranking import MARGIN
from convbench.analysis.results import Result
from convbench.core.statistics import Interval
from convbench.report.drawing import log_axes
from convbench.report.drawing.style import GRID, MUTED, TEXT, canvas, look, marker_area, short_name
from convbench.report.words.numbers import TIE

BAND = f" The grey band shows by how much two processes of the same code may differ: {TIE}."
"""The caption's sentence about the grey band."""
FEW = 12
"""Greatest number of ratios per reducer that are drawn one by one; more are drawn as their median and extremes."""


def ends(ratios: Iterable[Interval]) -> tuple[float, float]:
    """Return the limits of the axis around all finite bounds and 1."""
    return log_axes.limits([1.0, *(end for ratio in ratios for end in ratio if math.isfinite(end) and end > 0)])


def draw(rows: Mapping[str, Sequence[Interval]], limits: tuple[float, float], middle: float, label: str) -> MplAxes:
    """Draw a row per reducer and a dotted line at ``middle``. The scatter of row n has the gid ``marks-n``."""
    axes = canvas(height=62 + 20 * len(rows), left=114, right=12, top=8, bottom=40, width=350)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    log_axes.log_axis(axes, "x", limits, "×")
    axes.axvspan(1 / MARGIN, MARGIN, color=GRID, gid="noise", zorder=0)
    axes.axvline(1, color=TEXT, linewidth=1)
    axes.axvline(middle, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    for row, (name, ratios) in enumerate(rows.items()):
        _row(axes, row, name, ratios)
    axes.set_yticks(range(len(rows)), [short_name(name, 20) for name in rows], fontsize=9)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label, color=TEXT)
    return axes


def marks(rows: Iterable[Sequence[Result]], results: Sequence[Result]) -> dict[str, list[int]]:
    """Return the places, among all results, of those behind each row's scatter; only for rows that show every ratio."""
    index = {id(result): place for place, result in enumerate(results)}
    return {
        f"marks-{row}": [index[id(result)] for result in members]
        for row, members in enumerate(rows)
        if len(members) <= FEW
    }


def _row(axes: MplAxes, row: int, name: str, ratios: Sequence[Interval]) -> None:
    colour, marker = look(name)
    intervals = _intervals(ratios)
    for ratio in intervals:
        if ratio.bounded:
            axes.plot(
                [ratio.low, ratio.high], [row, row], color=colour, linewidth=1.4, alpha=0.7, solid_capstyle="butt"
            )
    axes.scatter([ratio.median for ratio in intervals], [row] * len(intervals), s=marker_area(marker), marker=marker,
                 color=colour, zorder=3, gid=f"marks-{row}")  # fmt: skip


def _intervals(ratios: Sequence[Interval]) -> Sequence[Interval]:
    if len(ratios) <= FEW:
        return ratios
    medians = [ratio.median for ratio in ratios]
    return [Interval(statistics.median(medians), min(medians), max(medians))]
