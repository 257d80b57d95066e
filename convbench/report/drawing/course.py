"""The course of a series: one point per run in order, its levels, and its changes with the first commit of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes

from convbench.analysis.history.course import Change, Course
from convbench.analysis.history.series import RunValue, minute
from convbench.core.metric import Metric, with_title
from convbench.core.scales import fitting_unit
from convbench.report.drawing import Drawing, log_axes
from convbench.report.drawing.scatter import heading
from convbench.report.drawing.style import GRID, HUES, MUTED, TEXT, canvas, short_name
from convbench.report.words import units

COLOURS = {"confirmed": HUES[6], "suspected": HUES[1], "inconclusive": HUES[1], "exact": HUES[1]}
"""Colours of changes for the worse by state; all other changes are muted."""
DATES, DAY = 4, "2026-11-29"
CAPTION = (
    "How to read this: a point is a run, in order, corrected by the reference workload to the machine's usual speed; "
    "the line is the level, and a dashed line a change, with the first commit that has it. Crosses are single spikes, "
    "which do not count as changes."
)


def draw(course: Course, metric: Metric, name: str, title: str) -> Drawing:
    """Draw a course; ``name`` is a file stem."""
    axes = canvas(height=200, left=66, right=34, bottom=26)
    places = list(range(len(course.values)))
    spikes = set(course.spikes)
    sound_places = [place for place in places if place not in spikes]
    axes.plot(sound_places, [course.values[place] for place in sound_places], "o", color=HUES[0], markersize=3.4)
    axes.plot(sorted(spikes), [course.values[place] for place in sorted(spikes)], "x", color=MUTED, markersize=4.5)
    for begin, end in pairwise([0, *(change.place for change in course.changes), len(course.levels)]):
        axes.plot(range(begin, end), course.levels[begin:end], color=TEXT, linewidth=1.6)
    for change in course.changes:
        _change(axes, change)
    _scale(axes, course, metric)
    axes.set_title(heading(with_title(metric)), loc="left", fontsize=10, color=MUTED)
    return Drawing(name, title, CAPTION, axes.figure)


def _dates(points: Sequence[RunValue], count: int) -> dict[int, str]:
    """Return the places of a few runs with their days; runs on the same day get their time (UTC)."""
    places = sorted({round(part * (len(points) - 1) / (count - 1)) for part in range(count)})
    days = [points[place].day for place in places]
    return {
        place: (minute(points[place].started) or day) if days.count(day) > 1 else day
        for place, day in zip(places, days, strict=True)
    }


def _change(axes: Axes, change: Change) -> None:
    colour = COLOURS.get(change.word, MUTED) if change.worse else MUTED
    axes.axvline(change.place - 0.5, color=colour, linewidth=1.1, linestyle=(0, (4, 3)))
    label = short_name(f"{change.at.commit[:7] or change.at.day} {change.word}")
    axes.annotate(label, (change.place - 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
                  textcoords="offset points", ha="left", va="top", color=colour, fontsize=9)  # fmt: skip


def _scale(axes: Axes, course: Course, metric: Metric) -> None:
    """Set a linear axis around the values, and label a few of the runs with their dates."""
    low, high = min(course.values), max(course.values)
    margin = max(0.12 * (high - low), 0.01 * abs(high)) or 1.0
    low, high = low - margin, high + 2 * margin
    axes.set_ylim(low, high)
    factor, _ = fitting_unit(high, units.tick_scale(metric.unit))  # so that ticks are round in the unit of the labels
    places = [factor * place for place in axes.yaxis.get_major_locator().tick_values(low / factor, high / factor)]
    ticks = [place for place in places if low <= place <= high]
    axes.yaxis.set_ticks(ticks, log_axes.even_labels(ticks, metric.unit))
    dates = _dates(course.series.points, DATES)
    if any(len(date) > len(DAY) for date in dates.values()):
        dates = _dates(course.series.points, DATES - 1)  # times make them longer
    axes.set_xticks(list(dates), list(dates.values()))
    axes.set_xlim(-0.8, len(course.values) - 0.2)
    axes.grid(True, axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(length=0, pad=5)
