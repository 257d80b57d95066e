"""Two costs against each other, for the figures of trade-offs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.costs.chart_view import initial_view
from convbench.analysis.results import Result
from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.metric import Metric
from convbench.report.drawing import log_axes
from convbench.report.drawing.style import AREA, MUTED, PAPER, TEXT, canvas, look, marker_area

FARTHEST = 1e100
"""Numbers from here on, and their inverses, are not drawn: an axis that held them would show nothing else."""
CROWD, BEHIND = 300, 8.0
"""Above ``CROWD`` marks, bars shorter than ``BEHIND`` points are not drawn: their own marks hide them."""


class Points:
    """The places of those results in view that have both values; ``view`` holds indices."""

    def __init__(self, results: Sequence[Result], view: Sequence[int], x: Metric, y: Metric) -> None:
        self.results, self.x, self.y = results, x, y
        self.places: dict[int, tuple[float, float]] = {}
        for index in view:
            x_value, y_value = value(results[index], x), value(results[index], y)
            if x_value and y_value:
                self.places[index] = (x_value, y_value)

    def by_series(self) -> dict[str, list[int]]:
        return dict(sorted(grouped(self.places, lambda index: self.results[index].series).items()))

    def ends(self, axis: int) -> tuple[float, float]:
        """Return the ends of an axis that holds all marks and, on an axis of latencies, their intervals."""
        values = [place[axis] for place in self.places.values()]
        bars = (bar for bar in map(self.bar, self.places) if bar) if (self.x, self.y)[axis] == metrics.LATENCY else ()
        return log_axes.limits([*values, *(end for bar in bars for end in bar)])

    def bar(self, index: int) -> tuple[float, float] | None:
        """Return the ends of a latency's interval; None if it is unbounded or a log axis cannot show it."""
        interval = self.results[index].latency
        return (interval.low, interval.high) if interval and interval.bounded and interval.low > 0 else None


def in_view(results: Sequence[Result]) -> tuple[int, ...]:
    """Return the indices of the results that a reader sees first."""
    return _in_view(tuple(results))


@lru_cache(maxsize=2)
def _in_view(results: tuple[Result, ...]) -> tuple[int, ...]:
    view = initial_view(results)
    return tuple(i for i, result in enumerate(results) if view and result.record.status == "ok" and result in view)


def value(result: Result, metric: Metric) -> float | None:
    """Return a result's place on an axis; None if a log axis cannot show it. The page's script has the same rule."""
    number = result.value(metric)
    return number if number and 1 / FARTHEST < number < FARTHEST else None


def empty_axes(points: Points, x_ends: tuple[float, float], axes: MplAxes | None = None) -> MplAxes:
    """Return log axes with titles and better directions, on the given axes or on a canvas of the usual size."""
    is_narrow = axes is not None
    axes = axes or canvas()
    log_axes.log_axis(axes, "x", x_ends, points.x.unit, max_ticks=5 if is_narrow else 8)
    log_axes.log_axis(axes, "y", points.ends(1), points.y.unit)
    axes.set_xlabel(heading(points.x), fontsize=10, gid="xlabel")
    axes.text(-0.12, 1.03, heading(points.y), transform=axes.transAxes, fontsize=10, color=TEXT, gid="ylabel")
    return axes


def heading(metric: Metric) -> str:
    """Return the title of an axis, with the better direction if the metric has one."""
    return metric.title if metric.better == "neither" else f"{metric.title} · {metric.better} is better"


def corner(x: Metric, y: Metric) -> str:
    """Return ``lower left is better, ``: the corner where both metrics are best; empty if one has no direction."""
    if "neither" in (x.better, y.better):
        return ""
    place = f"{'upper' if y.better == 'higher' else 'lower'} {'right' if x.better == 'higher' else 'left'}"
    return f"{place} is better, "


def marks(axes: MplAxes, points: Points) -> dict[str, list[int]]:
    """Draw up to two scatters per reducer, eager hollow, and the intervals. Return each scatter's indices by gid."""
    indices_by_gid = {}
    for number, (series, indices) in enumerate(points.by_series().items()):
        colour = look(series)[0]
        bars = _intervals(points, indices)
        visible_bars = [bar for bar in bars if _is_visible(axes, bar)] if len(points.places) > CROWD else bars
        lines(axes, visible_bars, colour, width=1.0, gid=f"bars-{number}")
        eager_indices = [i for i in indices if not points.results[i].case.variant]
        variant_indices = [i for i in indices if points.results[i].case.variant]
        for kind, members, face in (("eager", eager_indices, PAPER), ("varied", variant_indices, colour)):
            if members:
                indices_by_gid[f"{kind}-{number}"] = members
                _scatter(axes, [points.places[i] for i in members], series, face, f"{kind}-{number}")
    return indices_by_gid


def _is_visible(axes: MplAxes, bar: Sequence[tuple[float, float]]) -> bool:
    """Whether a bar can be seen beside its mark."""
    (x, y), (right, top) = axes.transData.transform(bar)
    return bool(abs(right - x) + abs(top - y) > BEHIND)


def _scatter(axes: MplAxes, places: Sequence[tuple[float, float]], series: str, face: str, gid: str) -> None:
    colour, marker = look(series)
    axes.scatter(
        [x for x, _ in places], [y for _, y in places], s=marker_area(marker), marker=marker,
        color=face, edgecolors=colour, linewidths=1.1, zorder=3, gid=gid,
    )  # fmt: skip


def lines(axes: MplAxes, pieces: Sequence[Sequence[tuple[float, float]]], colour: str, width: float, gid: str) -> None:
    """Draw several broken lines as one artist."""
    x = [v for piece in pieces for v in (*(place[0] for place in piece), math.nan)]
    y = [v for piece in pieces for v in (*(place[1] for place in piece), math.nan)]
    axes.plot(x, y, color=colour, linewidth=width, alpha=0.6, solid_capstyle="butt", gid=gid)


def rings(axes: MplAxes, points: Points, fronts: Sequence[Sequence[int]]) -> None:
    """Draw the fronts: a stair through each, and a ring around its members."""
    steps = [list(stairs([points.places[i] for i in front])) for front in fronts]
    lines(axes, steps, MUTED, width=1.2, gid="front")
    members = [points.places[i] for front in fronts for i in front]
    axes.scatter(
        [x for x, _ in members], [y for _, y in members],
        s=3.2 * AREA, facecolors="none", edgecolors=TEXT, linewidths=0.9, zorder=4, gid="rings",
    )  # fmt: skip


def stairs(places: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the corners of a stair through a front by rising x: along, then down or up."""
    if places:
        yield places[0]
    for (_, previous_y), (x, y) in pairwise(places):
        yield (x, previous_y)
        yield (x, y)


def _intervals(points: Points, indices: Sequence[int]) -> list[list[tuple[float, float]]]:
    """Return bars over the interval of the latency, if latency is on an axis and the interval is bounded."""
    bars = []
    for i in indices:
        bar, (x, y) = points.bar(i), points.places[i]
        if bar and points.y == metrics.LATENCY:
            bars.append([(x, end) for end in bar])
        if bar and points.x == metrics.LATENCY:
            bars.append([(end, y) for end in bar])
    return bars
