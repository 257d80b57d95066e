"""Linear axes of accuracies, with ticks in percent and a line at chance."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.quality.qualities import Quality
from convbench.core.scales import percent
from convbench.report.drawing.style import GRID, MUTED, y_title
from convbench.report.words.numbers import APART

TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def share_axis(axes: MplAxes, title: str) -> None:
    """Make y an accuracy from 0 to 100 %, with the title above it."""
    axes.set_ylim(0, 1.03)
    axes.set_yticks(TICKS, [percent(tick, places=0) for tick in TICKS])
    axes.yaxis.grid(True, color=GRID, linewidth=0.8)
    axes.tick_params(axis="y", length=0, pad=5)
    y_title(axes, title)


def baselines(axes: MplAxes, qualities: Iterable[Quality]) -> None:
    """Draw chance, and the accuracy of always predicting the commonest class if it is over two points better."""
    quality = next((quality for quality in qualities if quality.chance), None)
    if quality is None or quality.chance is None:
        return
    _line(axes, quality.chance, "chance")
    if quality.majority is not None and quality.majority - quality.chance > APART:
        _line(axes, quality.majority, "commonest class")


def _line(axes: MplAxes, height: float, words: str) -> None:
    axes.axhline(height, color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
    axes.annotate(words, (1, height), xycoords=("axes fraction", "data"), xytext=(-2, 2), textcoords="offset points",
                  ha="right", fontsize=9, color=MUTED)  # fmt: skip
