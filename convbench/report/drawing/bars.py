"""Stacked bars of the parts of a whole, one bar per result, all on one scale, with the whole at the right end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from matplotlib.axes import Axes as MplAxes
from matplotlib.ticker import MaxNLocator

from convbench.analysis.results import Result
from convbench.report.drawing import log_axes
from convbench.report.drawing.style import GRID, LEFT, MUTED, PAPER, TEXT, canvas, fit, left_margin
from convbench.report.words.names import labels

Shares = Mapping[Result, Mapping[str, float]]
LONGEST = 6.0
"""Longest bar in medians: a longer one is cut, so that the others can be compared."""
VISIBLE = 0.002
"""Share of the scale above which a part is drawn: a thinner one would be a name in the legend without a bar."""
CUT = "\N{RIGHTWARDS ARROW}"


class Margins(NamedTuple):
    """Points right of the bars; the legend's start, in widths of the bars, and its columns."""

    right: float
    legend: float
    columns: int


def bars(
    parts: Shares, looks: Mapping[str, tuple[str, str]], texts: Sequence[str], margins: Margins, unit: str
) -> MplAxes:  # fmt: skip
    """Draw a bar per result. ``looks`` has each part's words and colour in order, ``texts`` those right of the bars."""
    names = labels([result.case.architecture for result in parts])
    left = left_margin(names, 9)
    totals = [sum(part.values()) for part in parts.values()]
    longest = _end(totals)
    looks = {
        part: look
        for part, look in looks.items()
        if max(share.get(part, 0.0) for share in parts.values()) > VISIBLE * longest
    }
    top = 8 + 16 * math.ceil(len(looks) / margins.columns)
    axes = canvas(
        height=top + 24 + 21 * len(parts), left=left, right=margins.right, top=top, bottom=24,
        width=400 - LEFT + left,
    )  # fmt: skip
    _stack(axes, parts, looks)
    for row, (text, total) in enumerate(zip(texts, totals, strict=True)):
        is_long = total > longest * 1.0001
        axes.text(1.015, row, f"{CUT} {text}" if is_long else text, transform=axes.get_yaxis_transform(), va="center",
                  fontsize=9, color=TEXT)  # fmt: skip
    axes.set_yticks(range(len(parts)), [fit(name, left - 8, 9) for name in names], fontsize=9)
    axes.set_ylim(len(parts) - 0.45, -0.55)
    axes.set_xlim(0, longest)
    places = _ticks(longest, unit)
    axes.set_xticks(places, ["0", *log_axes.even_labels(places[1:], unit)], fontsize=9)
    axes.grid(True, axis="x", color=GRID, linewidth=0.8)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    handles, words = (_by_columns(items, margins.columns) for items in axes.get_legend_handles_labels())
    axes.legend(
        handles, words, loc="lower left", bbox_to_anchor=(margins.legend, 1.0), ncols=margins.columns, frameon=False,
        fontsize=9, labelcolor=TEXT, borderpad=0.2, handlelength=0.9, handleheight=0.9, columnspacing=1.1,
        handletextpad=0.4,
    )  # fmt: skip
    return axes


def _by_columns(items: Sequence[Any], columns: int) -> list[Any]:
    """Return the items in the order that makes matplotlib, which fills columns, show them in rows."""
    return [item for column in range(columns) for item in items[column::columns]]


def cut_note(parts: Shares) -> str:
    """Return a sentence for the caption if a bar is longer than the scale, else nothing."""
    totals = [sum(part.values()) for part in parts.values()]
    return " A bar with an arrow is cut off: it is longer than the scale." if max(totals) > _end(totals) else ""


def _end(totals: Sequence[float]) -> float:
    """Return the length of the longest bar up to ``LONGEST`` medians."""
    return max(total for total in totals if total <= LONGEST * median(totals))


def _ticks(end: float, unit: str) -> list[float]:
    """Return round values from 0: multiples of powers of two for bytes."""
    if unit not in log_axes.BINARY:
        return [place for place in MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]).tick_values(0, end) if 0 <= place <= end]
    step = 2.0
    while step * 3 <= end:  # two labels such as 768 KiB fit beside long texts, three do not
        step *= 2
    return [step * i for i in range(int(end / step) + 1)]


def _stack(axes: MplAxes, parts: Shares, looks: Mapping[str, tuple[str, str]]) -> None:
    ends = [0.0] * len(parts)
    for part, (words, colour) in looks.items():
        widths = [share.get(part, 0.0) for share in parts.values()]
        axes.barh(range(len(parts)), widths, left=ends, height=0.68, color=colour, edgecolor=PAPER, linewidth=0.6,
                  label=words)  # fmt: skip
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
