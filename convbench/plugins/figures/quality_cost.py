"""Accuracy against latency and memory for each task; marks show how likely they are on the Pareto front."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.choice import stability
from convbench.analysis.choice.candidates import Candidate, cheapest_each, gather
from convbench.analysis.costs.pareto import front
from convbench.analysis.quality.qualities import Quality, by_task, task_name
from convbench.analysis.quality.qualities import qualities as qualities_of
from convbench.analysis.results import Result, costs
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.registry import figures
from convbench.core.scales import percent
from convbench.core.text import inside
from convbench.report.drawing import Drawing, log_axes
from convbench.report.drawing.labels import label
from convbench.report.drawing.scatter import heading, lines, stairs
from convbench.report.drawing.shares import baselines, share_axis
from convbench.report.drawing.style import MUTED, canvas, look, marker_area, short_name
from convbench.report.words import units
from convbench.report.words.names import labels
from convbench.report.words.numbers import likely

FAINT = 0.3
TASKS = 8
"""Maximum number of drawings; the table has the numbers of further tasks."""

PLAIN, SMALLEST, LARGEST = 1.4, 0.8, 4.0
"""Areas of marks relative to other figures: without memory, and for the least and the most memory."""

CROWD, UNLIKELY = 8, 0.2
"""Of more than CROWD configurations, those with less than this probability of being on the front are not named."""

SAME = 1.05
"""If the largest peak of memory is less than this many times the smallest, all marks have one size."""


@figures.register("quality-cost")
def quality_cost(results: Sequence[Result]) -> Iterator[Drawing]:
    """Test accuracy against latency (parameters if nothing was timed), marks sized by memory; one drawing per task."""
    tasks = by_task(qualities_of([result.record for result in results], in_variants=True))
    clips = Counter(task for task, _ in tasks)
    for number, ((task, clip), members) in enumerate(list(tasks.items())[:TASKS]):
        candidates = gather(members, costs(results))[0]
        column = metrics.LATENCY if any(candidate.result.latency for candidate in candidates) else metrics.PARAMS
        cheapest_candidates = cheapest_each(candidates, column.option)
        pool = [candidate for candidate in cheapest_candidates if 0 < candidate.cost(column.option) < math.inf]
        if pool:
            yield _draw(pool, members, task_name(short_name(task), clip, clips[task] > 1), column, number)


def _draw(pool: Sequence[Candidate], qualities: Sequence[Quality], name: str, column: Metric, number: int) -> Drawing:
    areas = _areas(pool)
    axes = canvas(height=376, bottom=58)
    log_axes.log_axis(axes, "x", log_axes.limits(_ends(pool, column)), column.unit)
    share_axis(axes, "Test accuracy · higher is better")
    axes.set_xlabel(heading(column), fontsize=10)
    baselines(axes, qualities)
    shares = stability.membership(pool, (column.option, metrics.MEMORY.option))
    places = [(candidate.cost(column.option), candidate.mean) for candidate in pool]
    front_indices = front([(x, -y) for x, y in places])
    lines(axes, [list(stairs([places[i] for i in front_indices]))], MUTED, width=1.2, gid="front")
    for candidate, share, area in zip(pool, shares, areas or [PLAIN] * len(pool), strict=True):
        _mark(axes, candidate, share, column, area)
    indices = [i for i, share in enumerate(shares) if len(pool) <= CROWD or share >= UNLIKELY]
    names = labels([candidate.quality.architecture for candidate in pool])
    label(axes, [places[i] for i in indices], [f"{names[i]}, front {likely(shares[i])}" for i in indices])
    if areas:
        _name_sizes(axes, pool)
    return Drawing(
        name=f"quality-cost-{number}",
        title=f"{name}: accuracy against {inside(column.title)}{' and peak memory' if areas else ''}",
        caption=_caption(column, bool(areas)),
        figure=axes.figure,
        series=tuple(sorted({candidate.quality.architecture.reducer.name for candidate in pool})),
    )


def _ends(pool: Sequence[Candidate], column: Metric) -> list[float]:
    """Return what the axis of costs must hold: the costs and, if it shows latencies, their intervals."""
    latencies = (candidate.result.latency for candidate in pool) if column is metrics.LATENCY else ()
    bounds = (end for latency in latencies if latency and latency.bounded for end in latency[1:] if end > 0)
    return [*(candidate.cost(column.option) for candidate in pool), *bounds]


def _caption(column: Metric, has_sizes: bool) -> str:
    costs, memory = inside(column.title), inside(metrics.MEMORY.title)
    goals = f"accuracy, {costs} and {memory}" if has_sizes else f"accuracy and {costs}"
    return (
        "How to read this: upper left is better"
        + (", and a smaller mark takes less memory" if has_sizes else "")
        + ". Each configuration is in its cheapest variant; bars are 95 % intervals. The percentage at a mark, and its "
        "depth of colour, is how likely it is on the front, given the spread of seeds and timings (as in advise): "
        f"nothing else is as good in all of {goals} and better in one. The stair joins the means that "
        f"nothing beats in accuracy and {costs}"
        + (": a mark below it can be on the front for its memory. " if has_sizes else ". ")
        + f"Of more than {CROWD} configurations, those below {percent(UNLIKELY, places=0)} are not named. "
        + "Configurations with fewer than 2 sound seeds are left out."
    )


def _areas(pool: Sequence[Candidate]) -> list[float]:
    """Return areas by the logarithm of peak memory; empty if a peak is unknown or all are about the same."""
    sizes = [candidate.cost(metrics.MEMORY.option) for candidate in pool]
    if not all(0 < size < math.inf for size in sizes) or max(sizes) < SAME * min(sizes):
        return []
    step = (LARGEST - SMALLEST) / math.log(max(sizes) / min(sizes))
    return [SMALLEST + step * math.log(size / min(sizes)) for size in sizes]


def _name_sizes(axes: MplAxes, pool: Sequence[Candidate]) -> None:
    sizes = [candidate.cost(metrics.MEMORY.option) for candidate in pool]
    words = f"Size of a mark: peak memory, {units.extent(units.size(min(sizes)), units.size(max(sizes)))}"
    axes.annotate(words, (0.5, 0), xycoords="axes fraction", xytext=(0, -50), textcoords="offset points", ha="center",
                  fontsize=9, color=MUTED)  # fmt: skip


def _mark(axes: MplAxes, candidate: Candidate, share: float, column: Metric, area: float) -> None:
    name = candidate.quality.architecture.reducer.name
    colour, marker = look(name)
    x, y, depth = candidate.cost(column.option), candidate.mean, FAINT + (1 - FAINT) * share
    interval, latency = candidate.quality.interval, candidate.result.latency
    if interval:
        axes.plot([x, x], interval[1:], color=colour, linewidth=1, alpha=depth)
    if column is metrics.LATENCY and latency and latency.bounded:
        axes.plot(latency[1:], [y, y], color=colour, linewidth=1, alpha=depth)
    axes.scatter([x], [y], s=area * marker_area(marker), marker=marker, color=colour, alpha=depth, zorder=3)
