"""Cost against LSTM input size: what a larger input to the LSTM costs with each reducer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.costs.chart_view import curves
from convbench.analysis.costs.headlines import Headline, headline_of
from convbench.analysis.results import Result, shown_metrics
from convbench.core.registry import figures
from convbench.report.drawing import Drawing, MetricAxes
from convbench.report.drawing.scatter import Points, empty_axes, in_view, lines, marks
from convbench.report.drawing.style import ACCENT, look
from convbench.report.words.names import input_size, pick_cell


@figures.register("by-size")
def by_size(results: Sequence[Result]) -> Iterator[Drawing]:
    """Each cost against the LSTM input size, one curve per reducer and variant, with the crossover size."""
    view = in_view(results)
    size = input_size(results[i].case.architecture for i in view)
    pairs = [(metric, Points(results, view, size, metric)) for metric in shown_metrics(results, "axes")]
    columns = tuple(metric for metric, points in pairs if points.places)
    for metric, points in pairs:
        if points.places:
            yield _draw(points, MetricAxes(size, metric, (size,), columns), headline_of(results))


def _draw(points: Points, choice: MetricAxes, headline: Headline) -> Drawing:
    low, high = points.ends(0)
    crossover = headline.crossover
    name = pick_cell(headline.pick)
    line_size = crossover if crossover and low < crossover < 4 * high else None
    axes = empty_axes(points, (low, max(high, 1.5 * line_size) if line_size else high))
    _curves(axes, points)
    indices_by_mark = marks(axes, points)
    if line_size:
        _mark_crossover(axes, line_size, name)
    return Drawing(
        name=f"by-size-{choice.y.option}",
        title=f"{choice.y.title} against {choice.x.title}",
        caption=(
            "How to read this: each mark is a case (hollow: eager). A line joins the sizes of one reducer in one "
            "variant on one backbone; where it is flat, a larger input is free. Bars are 95 % intervals."
            + (
                f" At the dashed size D the {name} takes as many FLOPs as the convolution; left of it, fewer."
                if line_size
                else ""
            )
        ),
        figure=axes.figure,
        marks=indices_by_mark,
        series=tuple(points.by_series()),
        axes=choice,
    )


def _curves(axes: MplAxes, points: Points) -> None:
    """Join the points of each curve, one artist per reducer."""
    curve_numbers = curves(points.results)
    for number, (series, indices) in enumerate(points.by_series().items()):
        pieces: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for i in indices:
            if (curve := curve_numbers[i]) is not None:
                pieces[curve].append(points.places[i])
        lines(axes, [sorted(piece) for piece in pieces.values()], look(series)[0], width=1.2, gid=f"lines-{number}")


def _mark_crossover(axes: MplAxes, size: float, name: str) -> None:
    """Draw the line of the crossover, with its label on the side that has more room."""
    axes.axvline(size, color=ACCENT, linewidth=1.1, linestyle=(0, (4, 3)), gid="crossover")
    is_left = axes.transData.transform((size, 1))[0] > axes.bbox.x0 + axes.bbox.width / 2
    axes.annotate(
        f"{name} = conv FLOPs at D = {size:,.0f}", (size, 1), xycoords=("data", "axes fraction"),
        xytext=(-4 if is_left else 4, -2), textcoords="offset points", ha="right" if is_left else "left", va="top",
        color=ACCENT, fontsize=9, gid="crossover-label",
    )  # fmt: skip
