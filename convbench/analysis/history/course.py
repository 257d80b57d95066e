"""Describe the course of a series: its changes between runs and commits, its drift, and what paired checks said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from convbench.analysis.history.series import RunValue, Series
from convbench.analysis.history.steps import LEAST_STEP, SeriesShape, Step, shape
from convbench.analysis.inference.arrays import Floats
from convbench.analysis.stored_runs import COUNTS
from convbench.core.metric import Metric
from convbench.core.spread import STEEPEST, slope_through_zero
from convbench.core.statistics import Interval
from convbench.core.text import counted

StepState = Literal["suspected", "confirmed", "refuted", "inconclusive", "same code", "exact"]
Decision = Literal["confirmed", "refuted", "inconclusive"]
SLOPE_RUNS = 10
"""Least number of runs that tell how far a case slows down with the reference; with fewer it counts as fully."""
SURE_ERRORS = 3.0
"""Standard errors by which a slope must differ from 0 to be no chance."""


class Confirmation(NamedTuple):
    """What a paired check said of a case: the later commit over the earlier one, and the file with the proof."""

    case: str
    before: str
    after: str
    word: Decision
    ratio: Interval | None
    reason: str
    machine: str
    file: str


@dataclass(frozen=True)
class Change:
    """A change of level. ``before`` is the last run surely before it, ``after`` the first run surely after it.

    ``at`` is the likeliest first run of the new level, and ``place`` its place. ``ratio`` is the new level over the old
    one with its 95 % interval.
    """

    place: int
    at: RunValue
    before: RunValue
    after: RunValue
    ratio: Interval
    worse: bool
    word: StepState = "suspected"
    confirmation: Confirmation | None = None


@dataclass(frozen=True, repr=False)
class Course:
    """A series of a metric and what happened along it.

    ``values`` are its numbers without what the machine's speed explains, ``levels`` are these without noise, both in
    base units. ``drift`` is the relative change over the whole series, 0 without one. ``spikes`` are the places of
    outliers. ``visible`` is the smallest change that would have been seen, ``noise`` the error of a run, both relative.
    """

    series: Series
    values: tuple[float, ...]
    levels: tuple[float, ...]
    changes: tuple[Change, ...] = ()
    drift: float = 0.0
    spikes: tuple[int, ...] = ()
    visible: float = math.inf
    noise: float = 0.0

    def __repr__(self) -> str:
        runs, changes = counted(len(self.values), "run"), counted(len(self.changes), "change")
        return f"Course({self.series.case!r}, {runs}, {changes})"

    @property
    def standing(self) -> list[Change]:
        """The changes for the worse that code may have caused."""
        return [change for change in self.changes if change.worse and change.word not in ("same code", "refuted")]


def is_short(course: Course, metric: Metric) -> bool:
    """Whether a course has too few runs to show a change. Counts are never short: they show any change."""
    return not math.isfinite(course.visible) and metric not in COUNTS


def course(series: Series, metric: Metric, confirmations: Sequence[Confirmation] = ()) -> Course:
    """Find what happened along a series. Values must be positive, except exact counts."""
    points = series.points
    values = tuple(point.value for point in points)
    if metric in COUNTS:
        return Course(series, values, values, tuple(_exact(points, metric)))
    logs, form = logs_and_shape(points)
    checks = [confirmation for confirmation in confirmations if confirmation.case == series.case]
    changes = tuple(_change(points, step, metric, _check_of(points, step, form.steps, checks)) for step in form.steps)
    drift = math.expm1(form.slope * (len(points) - 1))
    values, levels = (tuple(map(float, np.exp(array))) for array in (logs, form.levels))
    return Course(series, values, levels, changes, drift if abs(drift) >= LEAST_STEP else 0.0, form.spikes,
                  form.visible, math.expm1(form.noise))  # fmt: skip


def logs_and_shape(points: Sequence[RunValue]) -> tuple[Floats, SeriesShape]:
    """Return the logs of the values at the machine's usual speed, and their shape.

    The reference workload beside each value tells the machine's speed. Values are taken to follow it fully; if the
    remainder surely still follows it, that is taken off too. If any value has no reference, none is corrected.
    """
    logs = np.log([point.value for point in points])
    seconds = [point.reference for point in points if point.reference]
    if len(seconds) < len(points):
        return np.asarray(logs), shape(logs)
    speed = np.log(seconds) - np.median(np.log(seconds))
    values = np.asarray(logs - speed)
    form = shape(values)
    excess = _excess(values, speed, form) if len(points) >= SLOPE_RUNS else 0.0
    return (values - excess * speed, shape(values - excess * speed)) if excess else (values, form)


def _excess(values: Floats, speed: Floats, form: SeriesShape) -> float:
    """Return the power by which values follow the machine's speed within their levels; 0 if that may be chance."""
    places = np.setdiff1d(np.arange(len(values)), form.spikes)
    parts = np.split(places, np.searchsorted(places, [step.place for step in form.steps]))
    x = np.concatenate([speed[part] - speed[part].mean() for part in parts])
    y = (values - form.levels)[places]
    slope, error = slope_through_zero(x, y, len(places) - len(parts) - 1)
    return max(-1.0, min(STEEPEST - 1, slope)) if abs(slope) > SURE_ERRORS * error else 0.0


def _change(points: Sequence[RunValue], step: Step, metric: Metric, confirmation: Confirmation | None) -> Change:
    before, after = points[step.before], points[step.last]
    ratio = Interval(*(math.exp(log) for log in (step.log, step.log - step.half, step.log + step.half)))
    commits = {(point.commit, point.dirty) for point in points[step.before : step.last + 1]}
    word: StepState = "suspected"
    if len(commits) == 1 and before.commit and not before.dirty:
        word = "same code"
    elif confirmation:
        word = confirmation.word
    return Change(step.place, points[step.place], before, after, ratio, step.log * metric.sign > 0, word, confirmation)


def _check_of(
    points: Sequence[RunValue], step: Step, steps: Sequence[Step], confirmations: Sequence[Confirmation]
) -> Confirmation | None:
    """Return the check of this step alone: the latest that decides, else the latest; None without one.

    Further runs narrow the range of a step. A check of a wider range therefore also counts for it, unless another step
    is in that range.
    """
    commits, matches = [point.commit for point in points], []
    for confirmation in confirmations:
        starts = [place for place in range(step.before + 1) if commits[place] == confirmation.before[:12]]
        ends = [place for place in range(step.last, len(points)) if commits[place] == confirmation.after[:12]]
        if starts and ends and sum(starts[-1] < other.place <= ends[0] for other in steps) == 1:
            matches.append(confirmation)
    decisions = [confirmation for confirmation in matches if confirmation.word != "inconclusive"]
    return next(reversed(decisions or matches), None)


def _exact(points: Sequence[RunValue], metric: Metric) -> Sequence[Change]:
    """Return a change wherever a count differs from that of the run before, which needs no statistics."""
    changes = []
    for place, (before, after) in enumerate(pairwise(points), start=1):
        if before.value != after.value:
            ratio = after.value / before.value if before.value else math.inf
            is_worse = (after.value - before.value) * metric.sign > 0
            changes.append(Change(place, after, before, after, Interval(ratio, ratio, ratio), is_worse, "exact"))
    return changes
