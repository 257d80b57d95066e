"""The course of a series: its changes between runs and commits, its drift, and what a paired check made of a change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from convbench.analysis.history.series import Point, Series
from convbench.analysis.history.steps import LEAST_STEP, Shape, Step, shape
from convbench.analysis.inference.arrays import Floats
from convbench.analysis.stored_runs import COUNTS
from convbench.core.metric import Metric
from convbench.core.spread import STEEPEST, slope_through_zero
from convbench.core.statistics import Interval
from convbench.core.text import counted

StepState = Literal["suspected", "confirmed", "refuted", "inconclusive", "same code", "exact"]
Decision = Literal["confirmed", "refuted", "inconclusive"]
SLOPE_RUNS = 10
"""Runs that tell how far a case slows down with the reference; fewer are taken to do so fully."""
SURE_ERRORS = 3.0
"""Standard errors."""


class Confirmation(NamedTuple):
    """What a paired check said of a case: the later commit over the earlier one, and the file that proves it."""

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
    """A level and another one: ``before`` and ``after`` are the last run surely before and the first surely after.

    ``at`` is the likeliest first run of the new level, ``place`` its place; ``ratio`` is new over old, with its 95 %
    interval.
    """

    place: int
    at: Point
    before: Point
    after: Point
    ratio: Interval
    worse: bool
    word: StepState = "suspected"
    confirmation: Confirmation | None = None


@dataclass(frozen=True, repr=False)
class Course:
    """A series of a metric and what happened along it.

    ``values`` are its numbers without what the machine's speed explains, ``levels`` those without noise, both in base
    units. ``drift`` is relative, over the whole series, 0 without one. ``visible`` is the smallest change that would
    have been seen, ``noise`` what a run is off by, both relative.
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
        """The changes for the worse that code may be the reason of."""
        return [change for change in self.changes if change.worse and change.word not in ("same code", "refuted")]


def course(series: Series, metric: Metric, confirmations: Sequence[Confirmation] = ()) -> Course:
    """What happened along a series. Values have to be positive, except for exact counts."""
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


def logs_and_shape(points: Sequence[Point]) -> tuple[Floats, Shape]:
    """Logs of the values at the machine's usual speed, which the reference workload beside each tells, and their shape.

    They are taken to follow it fully; where what is left surely goes with it, that is taken off too.
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


def _excess(values: Floats, speed: Floats, form: Shape) -> float:
    """How far values go with the machine's speed within their levels; 0 where that may be chance."""
    places = np.setdiff1d(np.arange(len(values)), form.spikes)
    parts = np.split(places, np.searchsorted(places, [step.place for step in form.steps]))
    x = np.concatenate([speed[part] - speed[part].mean() for part in parts])
    y = (values - form.levels)[places]
    slope, error = slope_through_zero(x, y, len(places) - len(parts) - 1)
    return max(-1.0, min(STEEPEST - 1, slope)) if abs(slope) > SURE_ERRORS * error else 0.0


def _change(points: Sequence[Point], step: Step, metric: Metric, confirmation: Confirmation | None) -> Change:
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
    points: Sequence[Point], step: Step, steps: Sequence[Step], confirmations: Sequence[Confirmation]
) -> Confirmation | None:
    """What was said of this step alone: the latest that decides, else the latest.

    Further runs narrow the range of a step, so that a check of a wider one is of it too, where no other step is in it.
    """
    commits, matches = [point.commit[:12] for point in points], []
    for confirmation in confirmations:
        starts = [place for place in range(step.before + 1) if commits[place] == confirmation.before[:12]]
        ends = [place for place in range(step.last, len(points)) if commits[place] == confirmation.after[:12]]
        if starts and ends and sum(starts[-1] < other.place <= ends[0] for other in steps) == 1:
            matches.append(confirmation)
    decisions = [confirmation for confirmation in matches if confirmation.word != "inconclusive"]
    return next(reversed(decisions or matches), None)


def _exact(points: Sequence[Point], metric: Metric) -> Sequence[Change]:
    """A count that differs from the run before has changed: that needs no statistics."""
    changes = []
    for place, (before, after) in enumerate(pairwise(points), start=1):
        if before.value != after.value:
            ratio = after.value / before.value if before.value else math.inf
            is_worse = (after.value - before.value) * metric.sign > 0
            changes.append(Change(place, after, before, after, Interval(ratio, ratio, ratio), is_worse, "exact"))
    return changes
