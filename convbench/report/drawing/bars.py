"""Bars of shares: what one whole is made of, a bar per result, the whole at its right end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.results import Result
from convbench.report.drawing.style import PAPER, TEXT, canvas, short

Shares = Mapping[Result, Mapping[str, float]]


class Room(NamedTuple):
    """Points right of the bars and above them; where the legend begins, in widths of the bars, and its columns."""

    right: float
    top: float
    legend: float
    columns: int


def bars(shares: Shares, looks: Mapping[str, tuple[str, str]], ends: Sequence[str], room: Room) -> MplAxes:
    """A bar per result; ``looks`` gives each part's words and colour in order, ``ends`` what stands right of a bar."""
    axes = canvas(height=room.top + 22 + 21 * len(shares), left=128, right=room.right, top=room.top, bottom=22)
    _stack(axes, shares, looks)
    for row, text in enumerate(ends):
        axes.text(1.015, row, text, va="center", fontsize=9, color=TEXT)
    axes.set_yticks(range(len(shares)), [_name(one) for one in shares], fontsize=9)
    axes.set_ylim(len(shares) - 0.45, -0.55)
    axes.set_xlim(0, 1)
    axes.set_xticks((0, 0.5, 1), ("0 %", "50 %", "100 %"), fontsize=9)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(
        loc="lower left", bbox_to_anchor=(room.legend, 1.0), ncols=room.columns, frameon=False, fontsize=9,
        labelcolor=TEXT, borderpad=0.2, handlelength=0.9, handleheight=0.9, columnspacing=1.1, handletextpad=0.4,
    )  # fmt: skip
    return axes


def _stack(axes: MplAxes, shares: Shares, looks: Mapping[str, tuple[str, str]]) -> None:
    ends = [0.0] * len(shares)
    for part, (words, colour) in looks.items():
        if not any(share.get(part) for share in shares.values()):
            continue
        widths = [share.get(part, 0.0) / sum(share.values()) for share in shares.values()]
        axes.barh(range(len(shares)), widths, left=ends, height=0.68, color=colour, edgecolor=PAPER, linewidth=0.6,
                  label=words)  # fmt: skip
        ends = [end + width for end, width in zip(ends, widths, strict=True)]


def _name(one: Result) -> str:
    return short(f"{one.series} {one.lstm_input:,}" if one.lstm_input else one.series, 24)
