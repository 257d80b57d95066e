"""One cost against another, with the Pareto front of each comparable group: the cases that none beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from convbench.analysis.costs.pareto import fronts
from convbench.analysis.results import Result, shown_metrics
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.registry import figures
from convbench.core.text import inside
from convbench.report.drawing import Drawing, MetricAxes
from convbench.report.drawing.scatter import Points, corner, empty_axes, in_view, marks, rings, value


@figures.register("trade-off")
def trade_off(results: Sequence[Result]) -> Iterator[Drawing]:
    """One cost against another; a stair joins the ringed cases, which no comparable case beats in both."""
    view = in_view(results)
    axes = shown_metrics(results, "axes")
    columns = tuple(metric for metric in axes if any(value(results[i], metric) for i in view))
    for x, y in _pairs(columns):
        points = Points(results, view, x, y)
        if points.places:
            yield _draw(points, MetricAxes(x, y, columns, columns))


def _pairs(columns: Sequence[Metric]) -> list[tuple[Metric, Metric]]:
    """Return every pair of metrics (x, y), first those of memory across and latency upwards."""
    sorted_columns = sorted(columns, key=lambda metric: (metric is not metrics.LATENCY, metric is not metrics.MEMORY))
    return [(x, y) for y, x in combinations(sorted_columns, 2)]


def _draw(points: Points, choice: MetricAxes) -> Drawing:
    axes = empty_axes(points, points.ends(0))
    indices_by_mark = marks(axes, points)
    cases = [points.results[i] for i in points.places]
    place = {id(result): i for i, result in zip(points.places, cases, strict=True)}
    groups = fronts(cases, choice.x, choice.y).values()
    rings(axes, points, [[place[id(result)] for result in front] for front in groups])
    return Drawing(
        name=f"trade-off-{choice.y.option}-{choice.x.option}",
        title=f"{choice.y.title} against {inside(choice.x.title)}",
        caption=(
            f"How to read this: {corner(choice.x, choice.y)}hollow marks are eager. Ringed cases form the Pareto "
            "front: no case with the same backbone, RNN, clip, scenario, device, number type, threads and variant is "
            "at least as good in both and better in one."
        ),
        figure=axes.figure,
        marks=indices_by_mark,
        series=tuple(points.by_series()),
        axes=choice,
    )
