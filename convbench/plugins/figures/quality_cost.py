"""Accuracy against latency, task by task, with the front drawn as surely as it is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.choice import stability
from convbench.analysis.choice.candidates import Candidate, cheapest_each, gather
from convbench.analysis.costs.pareto import front
from convbench.analysis.quality.qualities import Quality, by_task, qualities
from convbench.analysis.results import Result, costs
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.registry import figures
from convbench.report.drawing import Drawing, scales
from convbench.report.drawing.labels import label
from convbench.report.drawing.scatter import heading, lines, stairs
from convbench.report.drawing.shares import baselines, share_axis
from convbench.report.drawing.style import AREA, MUTED, WEIGHT, canvas, look, short

FAINT = 0.3
TASKS = 8


@figures.register("quality-cost")
def quality_cost(found: Sequence[Result]) -> Iterator[Drawing]:
    """Test accuracy against latency (parameters where nothing was timed); a drawing a task."""
    tasks = by_task(qualities([one.record for one in found], in_variants=True))
    for number, several in enumerate(list(tasks.values())[:TASKS]):
        able = gather(several, costs(found))[0]
        column = metrics.LATENCY if any(one.result.latency for one in able) else metrics.PARAMS
        pool = [one for one in cheapest_each(able, column.option) if 0 < one.cost(column.option) < float("inf")]
        if pool:
            yield _draw(pool, several, column, number)


def _draw(pool: Sequence[Candidate], several: Sequence[Quality], column: Metric, number: int) -> Drawing:
    task = several[0].task
    axes = canvas()
    scales.log_axis(axes, "x", scales.limits([one.cost(column.option) for one in pool]), column.unit)
    share_axis(axes, "Test accuracy · higher is better")
    axes.set_xlabel(heading(column), fontsize=10)
    baselines(axes, several)
    likely = stability.membership(pool, (column.option,))
    places = [(one.cost(column.option), one.mean) for one in pool]
    best = front([(x, -y) for x, y in places])
    lines(axes, [list(stairs([places[i] for i in best]))], MUTED, width=1.2, gid="front")
    for one, share in zip(pool, likely, strict=True):
        _mark(axes, one, share, column)
    label(axes, places, [_words(one, share) for one, share in zip(pool, likely, strict=True)])
    return Drawing(
        name=f"quality-cost-{number}",
        title=f"{short(task)}: accuracy against {column.title[0].lower()}{column.title[1:]}",
        caption=(
            "How to read this: upper left is better; each configuration in its cheapest variant, bars are 95 % "
            "intervals. The percentage at a mark, and its depth of colour, is the share of "
            "what seeds and timings allow in which nothing is both cheaper and better; the stair joins the means "
            "that nothing beats in both. "
            "Configurations with fewer than 2 sound seeds are left out."
        ),
        figure=axes.figure,  # type: ignore[arg-type]
        series=tuple(sorted({one.quality.architecture.reducer.name for one in pool})),
    )


def _mark(axes: MplAxes, one: Candidate, likely: float, column: Metric) -> None:
    name = one.quality.architecture.reducer.name
    colour, marker = look(name)
    x, y, depth = one.cost(column.option), one.mean, FAINT + (1 - FAINT) * likely
    interval, latency = one.quality.interval, one.result.latency
    if interval:
        axes.plot([x, x], interval[1:], color=colour, linewidth=1, alpha=depth)
    if column is metrics.LATENCY and latency and latency.bounded:
        axes.plot(latency[1:], [y, y], color=colour, linewidth=1, alpha=depth)
    axes.scatter([x], [y], s=1.4 * AREA * WEIGHT.get(marker, 1.0), marker=marker, color=colour, alpha=depth, zorder=3)


def _words(one: Candidate, likely: float) -> str:
    """Which one it is, and the share of resamples in which it is on the front."""
    parts = one.quality.architecture
    size = f" {parts.lstm_input:,}" if parts.lstm_input else ""
    return f"{short(parts.reducer.name, 18)}{size}, front {100 * likely:.0f} %"
