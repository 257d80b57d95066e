"""The tested claims as a page for readers, with their plots in the style of the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from convbench.analysis.claims.claim import Claim, Curve, Plot, tally
from convbench.core.system import files
from convbench.report.drawing import Drawing, log_axes
from convbench.report.drawing.style import ACCENT, AREA, BUILT_IN, GRID, HUES, MUTED, TEXT, canvas, look
from convbench.report.page.figure import figure
from convbench.report.page.template import render
from convbench.report.words import claims as words


def write(claims: Sequence[Claim], provenance: words.Provenance, path: Path) -> Path:
    """Write the page. Raises StoreError if it cannot be written."""
    entries = [_claim(claim) for claim in claims]
    values = {"tally": words.tally(tally(claims)), "claims": entries, "facts": provenance.facts()}
    return files.write(path, render("claims.html", {"size": 0}, **values))


def _claim(claim: Claim) -> dict[str, Any]:
    name = claim.number.lower()
    return {
        "id": name, "number": claim.number, "claim": claim.claim, "quote": claim.quote,
        "prediction": claim.prediction, "experiment": claim.experiment, "verdict": claim.verdict, "why": claim.why,
        "quantified": claim.quantified,
        "numbers": [(quantity.label, words.number(quantity), quantity.n) for quantity in claim.numbers],
        "counted": any(quantity.n is not None for quantity in claim.numbers),
        "figure": figure(draw(claim.plot, name), f"{name}-plot") if claim.plot else None,
    }  # fmt: skip


MARKERS = "os^D"
COUNTED = "clips"
"""Unit of an axis with few values, each with its own tick."""


def draw(plot: Plot, name: str) -> Drawing:
    """Return the plot as a drawing; ``name`` is a file stem."""
    axes = canvas(height=300)
    points = [point for curve in plot.curves for point in curve.points]
    _scale(axes, "x", [point.x for point in points] + [place for _, place in plot.marks], plot.x[1])
    ends = [end for point in points for end in point[1:] if end is not None]
    _scale(axes, "y", ends, plot.y[1])
    for number, curve in enumerate(plot.curves):
        _curve(axes, curve, number)
    for label, place in plot.marks:
        axes.axvline(place, color=ACCENT, linewidth=1.1, linestyle=(0, (4, 3)))
        axes.annotate(f"{label} {place:,.0f}", (place, 1), xycoords=("data", "axes fraction"), xytext=(-4, -2),
                      textcoords="offset points", ha="right", va="top", color=ACCENT, fontsize=9)  # fmt: skip
    axes.set_xlabel(plot.x[0], color=TEXT)
    axes.set_title(plot.y[0], loc="left", fontsize=10, color=MUTED)
    if len(plot.curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=TEXT, loc="best")
    return Drawing(name, plot.title, plot.caption, axes.figure)


def _curve(axes: Axes, curve: Curve, number: int) -> None:
    is_built_in = curve.name in BUILT_IN
    colour, marker = look(curve.name) if is_built_in else (HUES[number % len(HUES)], MARKERS[number % len(MARKERS)])
    for point in curve.points:
        if point.low is not None and point.high is not None:
            axes.plot([point.x, point.x], [point.low, point.high], color=colour, linewidth=1.4, alpha=0.7)
    x, y = zip(*((point.x, point.y) for point in curve.points), strict=True)
    axes.plot(x, y, color=colour, linewidth=1.2, marker=marker, markersize=AREA**0.5, label=curve.name)


def _scale(axes: Axes, axis_name: str, values: Sequence[float], unit: str) -> None:
    values = [value for value in values if math.isfinite(value) and (value > 0 or unit in log_axes.SHARES)] or [1.0]
    if unit not in log_axes.SHARES:
        log_axes.log_axis(axes, axis_name, log_axes.limits(values), unit)
        if unit == COUNTED and axis_name == "x":
            axes.xaxis.set_ticks(sorted(set(values)), [f"{value:,.0f}" for value in sorted(set(values))])
        return
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.05
    axis = axes.xaxis if axis_name == "x" else axes.yaxis
    low, high = low - margin, high + margin
    axes.set(**{f"{axis_name}lim": (low, high)})
    places = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    ticks = [place for place in places if low <= place <= high]
    axis.set_ticks(ticks, log_axes.even_labels(ticks, unit))
    axis.grid(True, color=GRID, linewidth=0.8)
    axis.set_tick_params(length=0, pad=5)
