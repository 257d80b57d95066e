"""The smallest LSTM input size that suffices, task by task."""

from __future__ import annotations

from convbench.analysis.claims.claim import Curve, Judgement, Number, Plot, Point, claim
from convbench.analysis.claims.evidence import Evidence, left_out
from convbench.analysis.claims.paired import MARGIN, MOST, quantify, verdict_of
from convbench.analysis.claims.standings import Standings, collapse_list, qualities_on, standings
from convbench.analysis.quality.qualities import Quality
from convbench.core.text import joined

SMALLER = 8


@claim(
    7,
    "The LSTM input should be significantly smaller than the map",
    quote="the input dimension to the LSTM shouldn't be a direct replica of the spatial dimensions of the "
    "convolutional output. Rather, it often requires careful manipulation and often benefits from being significantly "
    "smaller.",
    prediction=f"In most tasks, as “often” says, an LSTM input of an eighth of the flattened map or less is shown to "
    f"be within {100 * MARGIN:.0f} points of the best.",
    experiment="All reducers and sizes on one small backbone, trained on each task; the smallest size that is "
    "shown at 95 %, paired by seed, to be less than 2 points below every other configuration, and is not shown to "
    "collapse in more than one seed of ten.",
)
def smaller_input(evidence: Evidence) -> Judgement:
    tasks = standings(evidence)
    map_size = max(standing.size for group in tasks.values() for standing in group)
    return judge(tasks, map_size, left_out(qualities_on(evidence, tasks)), _plot(evidence, tasks))


def judge(tasks: Standings, map_size: int, exclusions: tuple[Number, ...] = (), plot: Plot | None = None) -> Judgement:
    """Judge whether an eighth of the map or less suffices in some, most and all tasks.

    A task excludes it if there are configurations of such a size, and each is shown to fall short.
    """
    sizes = {
        task: min((standing.size for standing in group if standing.suffices), default=None)
        for task, group in tasks.items()
    }
    small_inputs = [[standing for standing in group if standing.size * SMALLER <= map_size] for group in tasks.values()]
    suffices_small = [any(standing.suffices for standing in group) for group in small_inputs]
    excluded_small = [bool(group) and all(standing.falls_short for standing in group) for group in small_inputs]
    verdicts = quantify(suffices_small, excluded_small)
    numbers = [Number(f"{task}: smallest LSTM input that suffices", size) for task, size in sizes.items() if size]
    numbers.append(Number("The flattened map", map_size))
    map_by_task = {
        task: max(group, key=lambda standing: (standing.size, "+" not in standing.name))
        for task, group in tasks.items()
    }
    numbers += [standing.number(task) for task, standing in map_by_task.items()]
    shares = joined([f"{size:,} on {task}" if size else f"none is shown to on {task}" for task, size in sizes.items()])
    hurt_tasks = joined([task for task, standing in map_by_task.items() if standing.is_below])
    why = f"Of {map_size:,} values of the map these suffice: {shares}. "
    why += f"The whole map is shown to be more than 2 points below the best on {hurt_tasks}."
    if collapses := collapse_list(tasks):
        why += f" Collapsing too often: {collapses}."
    return Judgement(verdict_of(MOST, verdicts), why, (*numbers, *exclusions), plot, verdicts)


def _plot(evidence: Evidence, tasks: Standings) -> Plot:
    """Return the best accuracy at each size, one curve per task."""
    curves = []
    for task in tasks:
        best_by_size: dict[int, Quality] = {}
        for quality in evidence.on(task).values():
            size = quality.architecture.lstm_input or 0
            if size not in best_by_size or (quality.mean or 0) > (best_by_size[size].mean or 0):
                best_by_size[size] = quality
        points = [
            Point(size, cell.mean or 0.0, cell.interval and cell.interval.low, cell.interval and cell.interval.high)
            for size, cell in sorted(best_by_size.items())
        ]
        curves.append(Curve(task, tuple(points)))
    return Plot(
        "The best accuracy at each LSTM input size",
        "How to read this: for each task the reducer with the highest mean test accuracy of that size, with its 95 % "
        "interval over seeds. The size is not the only thing that differs along a line: the reducer may too.",
        ("LSTM input size", "size"), ("Test accuracy", "share"), tuple(curves),
    )  # fmt: skip
