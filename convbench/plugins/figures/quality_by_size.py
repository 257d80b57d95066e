"""Quality against LSTM input size for each task, and below it the cost of each size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes as MplAxes

from convbench.analysis.choice.candidates import common_group, without_dtype
from convbench.analysis.quality.qualities import Quality, costs_of
from convbench.analysis.quality.qualities import qualities as qualities_of
from convbench.analysis.results import Result
from convbench.core import metrics
from convbench.core.grouping import grouped
from convbench.core.metric import Metric
from convbench.core.record import Parts
from convbench.core.registry import figures
from convbench.core.statistics import Interval
from convbench.report.drawing import MOST_DRAWINGS, Drawing, log_axes
from convbench.report.drawing.scatter import heading, value
from convbench.report.drawing.shares import baselines, share_axis
from convbench.report.drawing.style import PAPER, look, marker_area, short_name, stack, y_title
from convbench.report.words.names import input_size, threads_of

APART = 0.022
"""Share of the axis between reducers of the same size, so that their intervals can be seen."""


class PanelPoint(NamedTuple):
    """A place on a panel with its interval; hollow if some of its runs were left out."""

    x: float
    y: float
    interval: Interval | None = None
    hollow: bool = False


@figures.register("quality-by-size")
def quality_by_size(results: Sequence[Result]) -> Iterator[Drawing]:
    """Test accuracy of each task against LSTM input size, with a cost below; one drawing per backbone and clip."""
    settings: dict[object, list[Quality]] = defaultdict(list)
    for quality in qualities_of([result.record for result in results]):
        parts = quality.architecture
        if parts.lstm_input:
            settings[parts.backbone, parts.rnn, parts.layer_norm, quality.clip].append(quality)
    sweeps = [members for members in settings.values() if len({_size(quality) for quality in members}) > 1]
    norms = {quality.architecture.layer_norm for members in settings.values() for quality in members}
    for number, members in enumerate(sweeps[:MOST_DRAWINGS]):
        yield _draw(members, results, number, _place(members[0], len(norms) > 1) if len(settings) > 1 else "")


def _place(quality: Quality, norms_differ: bool) -> str:
    parts = quality.architecture
    norm = " with LayerNorm" if parts.layer_norm else " without LayerNorm" if norms_differ else ""
    return f", {short_name(str(parts.backbone))}, {parts.rnn}{norm}, clip {quality.clip}"


def _draw(qualities: Sequence[Quality], results: Sequence[Result], number: int, place: str) -> Drawing:
    tasks = grouped(qualities, lambda quality: quality.task)
    costs = _costs(qualities, results)
    group = next((cost.group for cost in costs.values()), None)  # maybe on other clips than training's
    column = metrics.LATENCY if any(value(cost, metrics.LATENCY) for cost in costs.values()) else metrics.PARAMS
    panels = stack([128] * (len(tasks) + bool(costs)))
    dodge = _dodge(qualities)
    ends = log_axes.limits([_size(quality) * dodge[quality.architecture] for quality in qualities])
    for axes, (task, members) in zip(panels, tasks.items(), strict=False):
        log_axes.log_axis(axes, "x", ends, "size")
        share_axis(axes, f"{short_name(task)}: test accuracy · higher is better")
        baselines(axes, members)
        _draw_accuracy(axes, members, dodge)
    for axes in panels[:-1]:
        axes.tick_params(axis="x", labelbottom=False)
    bottom = panels[-1]
    if costs:
        _draw_costs(bottom, costs, column, ends, dodge)
    size = input_size(quality.architecture for quality in qualities).title
    bottom.set_xlabel(size, fontsize=10)
    return Drawing(
        name=f"quality-by-size-{number}",
        title=f"Quality{' and cost' if costs else ''} against {size}{place}",
        caption=(
            "How to read this: each mark is a reducer's mean test accuracy over seeds, the bar its 95 % interval; a "
            "line joins the sizes of one reducer. Hollow: some runs collapsed or failed and are left out. "
            "× at the foot: no sound run at all. Sizes that coincide are drawn side by side."
            + (
                f" Below: the same models' cost, without variants, on clip {group.clip}{threads_of(group)}."
                if group
                else ""
            )
        ),
        figure=bottom.figure,
        series=tuple(sorted({quality.architecture.reducer.name for quality in qualities})),
    )


def _costs(qualities: Sequence[Quality], results: Sequence[Result]) -> dict[Parts, Result]:
    """Return each architecture's eager cost, all measured alike, if possible on clips as long as the training clips.

    A run may have measured neither of the costs that are drawn.
    """
    shown = [result for result in results if any(value(result, metric) for metric in (metrics.LATENCY, metrics.PARAMS))]
    costs = [[cost for cost in costs_of(quality, shown) if not cost.case.variant] for quality in qualities]
    group = common_group(qualities, costs)
    return {
        quality.architecture: cost
        for quality, members in zip(qualities, costs, strict=True)
        for cost in members
        if without_dtype(cost.group) == group
    }


def _dodge(qualities: Sequence[Quality]) -> dict[Parts, float]:
    low, high = log_axes.limits([_size(quality) for quality in qualities])
    models = dict.fromkeys(quality.architecture for quality in qualities)
    models_by_size = grouped(models, lambda parts: parts.lstm_input or 1)
    return {
        parts: (high / low) ** (APART * (place - (len(members) - 1) / 2))
        for members in models_by_size.values()
        for place, parts in enumerate(sorted(members, key=str))
    }


def _size(quality: Quality) -> float:
    return float(quality.architecture.lstm_input or 1)


def _draw_accuracy(axes: MplAxes, members: Sequence[Quality], dodge: dict[Parts, float]) -> None:
    lines: dict[tuple[str, str], list[PanelPoint]] = defaultdict(list)
    for quality in members:
        parts, x = quality.architecture, _size(quality) * dodge[quality.architecture]
        if quality.mean is None:
            axes.plot([x], [0], marker="x", color=look(parts.reducer.name)[0], markersize=7, clip_on=False, zorder=4)
        else:
            is_partial = bool(quality.collapsed or quality.failed)
            lines[parts.reducer.name, str(parts.reducer)].append(
                PanelPoint(x, quality.mean, quality.interval, is_partial)
            )
    _draw_series(axes, lines)


def _draw_costs(
    axes: MplAxes, costs: dict[Parts, Result], column: Metric, ends: tuple[float, float], dodge: dict[Parts, float]
) -> None:
    lines: dict[tuple[str, str], list[PanelPoint]] = defaultdict(list)
    for parts, cost in costs.items():
        if height := value(cost, column):
            interval = cost.latency if column is metrics.LATENCY and cost.latency and cost.latency.bounded else None
            x = float(parts.lstm_input or 1) * dodge[parts]
            lines[parts.reducer.name, str(parts.reducer)].append(PanelPoint(x, height, interval))
    log_axes.log_axis(axes, "x", ends, "size")
    places = [
        end
        for points in lines.values()
        for point in points
        for end in (point.y, *(point.interval or ())[1:])
        if end > 0
    ]
    log_axes.log_axis(axes, "y", log_axes.limits(places), column.unit)
    y_title(axes, heading(column))
    _draw_series(axes, lines)


def _draw_series(axes: MplAxes, lines: dict[tuple[str, str], list[PanelPoint]]) -> None:
    for (name, _), points in sorted(lines.items()):
        colour, marker = look(name)
        sorted_points = sorted(points)
        axes.plot([p.x for p in sorted_points], [p.y for p in sorted_points], color=colour, linewidth=1.2, alpha=0.6)
        for point in sorted_points:
            if point.interval:
                axes.plot([point.x] * 2, point.interval[1:], color=colour, linewidth=1, alpha=0.6)
            axes.scatter([point.x], [point.y], s=marker_area(marker), marker=marker, zorder=3,
                         color=PAPER if point.hollow else colour, edgecolors=colour, linewidths=1.1)  # fmt: skip
