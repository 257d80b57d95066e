"""Where it will run: the latency of every model in every runtime; where lines cross, the ranking changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.costs.runtimes import RelativeLatency, Runtimes, runtimes
from convbench.analysis.results import Result
from convbench.core.registry import figures
from convbench.report.drawing import Drawing, log_axes
from convbench.report.drawing.labels import at_ends
from convbench.report.drawing.style import canvas, left_margin, look, marker_area, short_name, y_title
from convbench.report.words import runtimes as words
from convbench.report.words.names import around_reducer, labels, model, threads_of


@figures.register("runtimes")
def by_runtime(results: Sequence[Result]) -> Iterator[Drawing]:
    """Latency by runtime, one line per model (reducer and LSTM input size), the base model's fastest runtime first."""
    index = {id(result): number for number, result in enumerate(results)}
    views = runtimes(results)
    for number, view in enumerate(views):
        twins = [place for place, other in enumerate(views) if _place(other) == _place(view)]
        yield _draw(view, index, twins.index(number) + 1, has_twins=len(twins) > 1)


def _place(view: Runtimes) -> tuple[str, str]:
    return view.scenario, view.device


def _draw(view: Runtimes, index: Mapping[int, int], number: int, has_twins: bool) -> Drawing:
    """Return the figure of a view, the ``number``-th of its scenario and device; ``has_twins`` if there are several."""
    base = view.base
    place = f"clip {base.case.clip}, {base.group.dtype}{threads_of(base.group)}"
    setting = f", {around_reducer(base)}, {place}" if has_twins else ""
    models = {model(price.result): price.result for price in view.prices}
    lines = {name: [view.price(runtime, result) for runtime in view.runtimes] for name, result in models.items()}
    names = [short_name(name, 24) for name in view.runtimes]
    bottom = 12 + 0.65 * left_margin(names, 9.5)  # the sine of the labels' angle
    axes = canvas(height=244 + bottom, left=64, right=106, bottom=bottom, width=408)
    latencies = [price.result.latency for price in view.prices if price.result.latency]
    limits = log_axes.limits(
        bound for interval in latencies for bound in (interval.low, interval.high) if 0 < bound < float("inf")
    )
    log_axes.log_axis(axes, "y", limits, "s")
    axes.set_xlim(-0.35, len(view.runtimes) - 0.65)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=9.5)
    y_title(axes, "Latency of a call · lower is better")
    for line_number, prices in enumerate(lines.values()):
        _line(axes, line_number, prices)
    tips = [[(place, price.result) for place, price in enumerate(prices) if price][-1] for prices in lines.values()]
    ends = [(place, tip.latency.median) for place, tip in tips if tip.latency]
    names = labels([tip.case.architecture for _, tip in tips])
    at_ends(axes, ends, [short_name(name, 20) for name in names], [look(tip.series)[0] for _, tip in tips])
    return Drawing(
        name=f"runtimes-{view.scenario}-{view.device}{f'-{number}' if number > 1 else ''}",
        title=f"Where it will run: {view.scenario}, {view.device}{setting}",
        caption=(
            f"{words.sentence(view)} How to read this: each line is a model, from runtime to runtime; where two lines "
            "cross, the ranking changes. Bars are 95 % intervals. Every mark gave eager's output within the tolerance "
            "of its number type; a random output, as closely as eager itself with other random numbers."
        ),
        figure=axes.figure,
        marks={
            f"marks-{line_number}": [index[id(price.result)] for price in prices if price]
            for line_number, prices in enumerate(lines.values())
        },
    )


def _line(axes: MplAxes, number: int, prices: Sequence[RelativeLatency | None]) -> None:
    place_results = [(place, price.result) for place, price in enumerate(prices) if price]
    colour, marker = look(place_results[0][1].series)
    places = [place for place, _ in place_results]
    seconds = [result.latency.median for _, result in place_results if result.latency]
    axes.plot(places, seconds, color=colour, linewidth=1.2, alpha=0.7, gid=f"lines-{number}")
    for place, result in place_results:
        if result.latency and result.latency.bounded:
            axes.plot([place, place], [result.latency.low, result.latency.high], color=colour, linewidth=1.6, alpha=0.6)
    axes.scatter(places, seconds, s=marker_area(marker), marker=marker, color=colour, zorder=3, gid=f"marks-{number}")
