"""Answer questions about the history of many stored runs: every series' course, and notes on the runs, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import get_args

from convbench.analysis.history import contents
from convbench.analysis.history.course import Change, Confirmation, Course, course, is_short
from convbench.analysis.history.series import UNDATED, Series, moment, require_date, series
from convbench.analysis.history.steps import LEAST_POINTS
from convbench.analysis.stored_runs import CONSTANTS, COUNTS
from convbench.core import metrics
from convbench.core.case import id_matches
from convbench.core.errors import ConvbenchError, Refused, StoreError
from convbench.core.metric import Metric, with_title
from convbench.core.registry import did_you_mean
from convbench.core.storage import index
from convbench.core.storage.index import Index, Problem, RunEntry
from convbench.core.text import counted, some

NOTHING, CONFIRMED, SUSPECTED = 0, 1, 3
LEEWAY = timedelta(days=1)
"""How far ahead of this clock a run may be dated: other clocks differ a little, and a time without a zone by hours."""


@dataclass(frozen=True)
class Note:
    """Something that a reader must know about the runs: a ``code``, a count, and an example."""

    code: str
    count: int
    example: str = ""


@dataclass(frozen=True)
class HistoryQuery:
    """A question about the runs below ``roots``: a metric by its short name, and globs for the cases.

    Changes before the date ``since`` are old news. ``line`` holds the commits of this repository, oldest first. Raises
    ConvbenchError if ``roots`` is empty or ``since`` is no date.
    """

    roots: tuple[Path, ...]
    metric: str = "latency"
    only: tuple[str, ...] = ()
    since: str = ""
    line: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.roots:
            raise ConvbenchError("name the runs: run directories, folders that hold them, or a store")
        require_date(self.since)


@dataclass(frozen=True, repr=False)
class History:
    """The courses of all series of a metric, by case; ``machines`` describes each fingerprint in words."""

    metric: Metric
    courses: tuple[Course, ...]
    runs: int
    machines: Mapping[str, str]
    notes: tuple[Note, ...] = ()
    since: str = ""

    def __repr__(self) -> str:
        runs, series = counted(self.runs, "run"), counted(len(self.courses), "series", "series")
        words = [change.word for _, change in self.changes]
        changes = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
        return f"History({self.metric.option}, {runs}, {series}; changes: {changes or 'none'})"

    def is_news(self, change: Change) -> bool:
        """Whether a change is of the date ``since`` or later."""
        return moment(change.at.started) >= moment(self.since)

    @property
    def changes(self) -> list[tuple[Course, Change]]:
        """All changes that are news, each with its course."""
        return [(course, change) for course in self.courses for change in course.changes if self.is_news(change)]

    @property
    def exit_code(self) -> int:
        """1 if a paired check confirmed a change for the worse, 3 if code may have caused another one, else 0."""
        words = {change.word for course in self.courses for change in course.standing if self.is_news(change)}
        return CONFIRMED if "confirmed" in words else SUSPECTED if words else NOTHING


def history(question: HistoryQuery, confirmations: Sequence[Confirmation] = (), unread: Sequence[str] = ()) -> History:
    """Answer a question from the index of the runs, which is brought up to date first.

    ``unread`` says for each confirmation that cannot be read why not. Raises StoreError if no run can be read,
    ConvbenchError if none has the metric or the case, Refused if no two runs can be compared.
    """
    entries, metric, all_series, machines = index.ask(question.roots, contents.read, partial(_contents, question))
    if not all_series:
        raise ConvbenchError(f"--metric {question.metric}: no run has a value of it for these cases")
    latency_checks = confirmations if question.metric == metrics.LATENCY.option else ()  # checks measure nothing else
    usable, unusable = _split(all_series, metric, [entry for entry in entries if entry.problem])
    courses = tuple(course(case_series, metric, latency_checks) for case_series in usable)
    damage_notes = [Note("confirmations", len(unread), unread[0])] if unread else []
    notes = (*_run_notes(entries), *damage_notes, *_series_notes(metric, courses, unusable, question.line))
    readable_count = sum(not entry.problem for entry in entries)
    return History(metric, courses, readable_count, machines, notes, question.since)


def _contents(question: HistoryQuery, runs: Index) -> tuple[list[RunEntry], Metric, list[Series], Mapping[str, str]]:
    """Return what the index holds for a question: the runs, the metric, its series, and the machines in words."""
    entries = runs.entries()
    if all(entry.problem for entry in entries.values()):
        raise StoreError(_no_run_message(question, list(entries.values())))
    metric = _metric(runs, question.metric)
    rows = runs.rows(question.metric, _matching_cases(runs, question.only))
    all_series = series(rows, entries, question.line, anywhere=metric in CONSTANTS)
    return list(entries.values()), metric, all_series, runs.machines()


def _split(
    candidates: Sequence[Series], metric: Metric, entries: Sequence[RunEntry]
) -> tuple[list[Series], list[Series]]:
    """Return the series with two points or more whose logarithms exist, and the others.

    A single series of one point stands in for them if there are none. Raises Refused if several series have one point
    and none is usable. Its message names one of ``entries``, the runs left out: with these there might be some.
    """
    zeros: list[Series] = []
    singles: list[Series] = []
    usable: list[Series] = []
    for candidate in candidates:
        no_log = metric not in COUNTS and any(point.value <= 0 for point in candidate.points)
        (zeros if no_log else singles if len(candidate.points) < 2 else usable).append(candidate)
    if len(singles) > 1 and not usable:
        raise Refused(
            f"no two of these runs can be compared in {metric.option}: each case was measured only once"
            + ("" if metric in CONSTANTS else " per machine and protocol; measure again on one of the machines")
            + (f" ({counted(len(entries), 'run')} left out, such as {reason(entries[0])})" if entries else "")
        )
    return (usable, singles + zeros) if usable else (singles, zeros)


def _metric(runs: Index, option: str) -> Metric:
    by_option = runs.metrics()
    if option not in by_option:
        raise ConvbenchError(f"--metric {option!r}: no run has it{did_you_mean(option, by_option)}")
    ours = {metric.option: metric for metric in metrics.ALL}
    return with_title(ours.get(option, by_option[option]))


def _matching_cases(runs: Index, only: Sequence[str]) -> list[str] | None:
    """Return the cases whose id, or a part of it, matches a glob; None, for all, without globs.

    Raises ConvbenchError if none matches.
    """
    if not only:
        return None
    cases = runs.cases()
    matches = [case for case in cases if id_matches(case, only)]
    if not matches:
        raise ConvbenchError(
            f"--only {' '.join(only)}: none of {counted(len(cases), 'case')} matches (the first is {cases[0]})"
        )
    return matches


def _no_run_message(question: HistoryQuery, entries: Sequence[RunEntry]) -> str:
    if entries:
        places = ", ".join(map(str, question.roots))
        return f"{places}: none of {counted(len(entries), 'run')} there can be read: {reason(entries[0])}"
    return no_run(question.roots)


def no_run(roots: Sequence[Path]) -> str:
    return f"{', '.join(map(str, roots))}: there is no run: `convbench run` writes one, `convbench pull` fetches them"


def reason(entry: RunEntry) -> str:
    """Return why a run is left out, with its path."""
    return entry.problem if entry.problem.startswith(entry.path) else f"{entry.path}: {entry.problem}"


def _run_notes(entries: Sequence[RunEntry]) -> list[Note]:
    kinds = {
        **{kind: [entry for entry in entries if entry.kind == kind] for kind in get_args(Problem)},
        "incomplete": [entry for entry in entries if entry.missing and not entry.problem],
        "undated": [entry for entry in entries if not entry.problem and moment(entry.started) == UNDATED],
        "future": [entry for entry in entries if moment(entry.started) > datetime.now(UTC) + LEEWAY],
    }
    notes = [Note(code, len(subjects), _example(subjects[0])) for code, subjects in kinds.items() if subjects]
    suites = sorted({entry.name for entry in entries if entry.name})
    return notes + ([Note("suites", len(suites), some(suites))] if len(suites) > 1 else [])


def _example(entry: RunEntry) -> str:
    """Return what is wrong with a run, which includes its path, or the path alone of a run that can be read."""
    return entry.path if entry.kind in ("", "no results") else entry.problem


def _series_notes(
    metric: Metric, courses: Sequence[Course], unusable: Sequence[Series], line: Sequence[str]
) -> list[Note]:
    usable = [course.series for course in courses]
    machines, protocols = ({getattr(case_series, name) for case_series in usable} for name in ("machine", "protocol"))
    line_commits = {commit[:12] for commit in line}
    commits = {point.commit for case_series in usable for point in case_series.points if point.commit}
    strange_commits = sorted(commits - line_commits) if line else []
    kinds = {
        "machines": (len(machines) if len(machines) > 1 else 0, ""),
        "protocols": (len(protocols) if len(protocols) > 1 else 0, ""),
        "strange commits": (len(strange_commits), ", ".join(strange_commits[:3])),
        "backward": (max((case_series.backward for case_series in usable), default=0), ""),
        "short": (sum(is_short(course, metric) for course in courses), str(LEAST_POINTS)),
        "dirty": (len({point.run for case_series in usable for point in case_series.points if point.dirty}), ""),
        "left out": (len(unusable), next((case_series.case for case_series in unusable), "")),
    }
    return [Note(code, count, example) for code, (count, example) in kinds.items() if count]
