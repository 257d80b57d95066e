"""Latency against LSTM input size on one backbone in one variant, with the reducers' names at their lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.costs.chart_view import curves, initial_view
from convbench.analysis.results import Result
from convbench.core import metrics
from convbench.core.record import Parts
from convbench.core.registry import figures
from convbench.report.drawing import Drawing
from convbench.report.drawing.labels import Position, at_ends, label
from convbench.report.drawing.scatter import Points, empty_axes, in_view, lines, marks
from convbench.report.drawing.style import canvas, look, short_name
from convbench.report.words.names import input_size, labels, threads_of

NEAR = 14.0
"""Distance in points of the page below which single marks share a label."""
LISTED = 3
PLACE = ("backbone", "variant", "scenario")
MANY = 120
"""With more marks than this there is no drawing: names would hide the marks."""


@figures.register("curve")
def curve(results: Sequence[Result]) -> Iterator[Drawing]:
    """Latency by LSTM input size of the cases shown first; nothing if no reducer was measured at two sizes."""
    view = in_view(results)
    size = input_size(results[i].case.architecture for i in view)
    points = Points(results, view, size, metrics.LATENCY)
    curve_numbers = curves(results)
    rows_by_curve: dict[int, list[int]] = defaultdict(list)
    for i in points.places:
        if (number := curve_numbers[i]) is not None:
            rows_by_curve[number].append(i)
    curve_rows = [rows for rows in rows_by_curve.values() if len(rows) > 1]
    if curve_rows and len(points.places) <= MANY:
        yield _draw(points, curve_rows)


def _draw(points: Points, curve_rows: Sequence[Sequence[int]]) -> Drawing:
    axes = empty_axes(points, points.ends(0), canvas(height=320, left=54, right=106, width=380))
    pieces = [sorted(points.places[i] for i in rows) for rows in curve_rows]
    models = [points.results[rows[0]] for rows in curve_rows]
    names = labels(
        [replace(parts, lstm_input=None) for model in models if isinstance(parts := model.case.architecture, Parts)]
    )
    colours = [look(model.series)[0] for model in models]
    for number, (piece, colour) in enumerate(zip(pieces, colours, strict=True)):
        lines(axes, [piece], colour, width=1.6, gid=f"lines-{number}")
    indices_by_mark = marks(axes, points)
    at_ends(axes, [piece[-1] for piece in pieces], [short_name(name, 20) for name in names], colours)
    single_places = {
        name: max(points.places[i] for i in rows)
        for name, rows in points.by_series().items()
        if name not in {model.series for model in models}
    }
    _name_singles(axes, single_places)
    view = initial_view(points.results)
    threads_vary = len({result.group.threads for result in points.results}) > 1
    threads = threads_of(points.results[next(iter(points.places))].group) if threads_vary else ""
    place_names = [view.values[name] for name in PLACE if name in view.values] if view else []
    return Drawing(
        name="curve",
        title=f"Latency by {points.x.title}: {', '.join(short_name(name) for name in place_names)}{threads}",
        caption=(
            "How to read this: a line is one reducer at several sizes, with its name at the end. Marks without a line "
            "have one size on this backbone, or other sizes only with other options. Where a line is flat, a larger "
            "input is free. Bars are 95 % intervals."
        ),
        figure=axes.figure,
        marks=indices_by_mark,
        series=tuple(points.by_series()),
        scale={"y": (metrics.LATENCY, *axes.get_ylim())},
    )


def _name_singles(axes: MplAxes, places: Mapping[str, Position]) -> None:
    """Write names beside single marks without covering others; marks that lie on each other share a label."""
    clusters: list[list[str]] = []
    spots: list[Position] = []
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        x, y = map(float, axes.transData.transform(place))
        neighbours = (i for i, (a, b) in enumerate(spots) if abs(a - x) < NEAR and abs(b - y) < NEAR)
        index = next(neighbours, None)
        if index is None:
            spots.append((x, y))
            clusters.append([name])
        else:
            clusters[index].append(name)
    words = [_listing(names) for names in clusters]
    label(axes, [places[names[0]] for names in clusters], words)


def _listing(names: Sequence[str]) -> str:
    text = ", ".join(short_name(name, 18) for name in names[:LISTED])
    return f"{text} +{len(names) - LISTED}" if len(names) > LISTED else text
