"""The history of runs in sentences: changes, drifts, confirmations, and notes on the runs."""

from __future__ import annotations

import glob
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from statistics import median_high

from convbench.analysis.history.course import Change, Course, is_short
from convbench.analysis.history.overview import History, Note
from convbench.core import metrics, scales
from convbench.core.commands import Command
from convbench.core.text import counted, joined
from convbench.report.words import names, units
from convbench.report.words.numbers import percent

NOTES = {
    "newer": "{runs} of a newer format left out, such as {example}",
    "unreadable": "{runs} left out as unreadable, such as {example}",
    "no results": "{runs} left out: no results yet, or a store that was copied only in part, such as {example}",
    "incomplete": "{runs} with fewer cases than planned; the measured cases count",
    "confirmations": "{confirmations} left out as unreadable, such as {example}",
    "undated": "{runs} without a date, put first, such as {example}",
    "future": "{runs} dated in the future, such as {example}: a clock was wrong, and a series by date ends there",
    "suites": "{count} suites: {example}; a case counts as the same in all of them",
    "machines": "{count} machines or versions of software: each has its own series, and none is compared with another",
    "protocols": "{count} measuring protocols: each has its own series, and none is compared with another",
    "strange commits": "{commits} outside the history of this clone (another branch, a rewritten or shallow history), "
    "such as {example}: a series with such a commit is sorted by date",
    "backward": "{runs} dated before a run of an older commit in the same series (the clock went back, or old commits "
    "were measured later): sorted by commit",
    "short": "{series} of fewer than {example} runs: too few to detect a change; "
    "`convbench compare` shows two runs side by side",
    "dirty": "{runs} of code with uncommitted changes",
    "left out": "{series} left out (only one run, or a zero among its values), such as {example}",
}
"""Each fits one as well as many: only the counted noun changes, and no verb has to agree with it."""


def lines(history: History) -> list[str]:
    """Return the printed lines: a heading, one for each change and drift, and the notes."""
    return [heading(history), *stories(history), quiet(history), *notes(history.notes)]


def heading(history: History) -> str:
    """Return ``Latency of a call, 48 runs: 10 series of 8 cases, 2026-09-01 to 2026-11-22``."""
    days = sorted({point.day for course in history.courses for point in course.series.points} - {"no date"})
    span = f", {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    cases = len({course.series.case for course in history.courses})
    title = history.metric.title or history.metric.name
    return (
        f"{title}, {counted(history.runs, 'run')}: "
        f"{counted(len(history.courses), 'series', 'series')} of {counted(cases, 'case')}{span}"
    )


def answer(history: History) -> str:
    """Return the first line of the page: the only change or drift, the number of each kind, or that there is none."""
    lines = stories(history)
    if len(lines) < 2:
        return lines[0] if lines else f"{(words := quiet(history))[0].upper()}{words[1:]}"
    changes = sorted((change for _, change in history.changes), key=lambda change: not change.worse)
    kinds = Counter(f"{direction(change, history.metric.unit)} ({change.word})" for change in changes)
    kinds["drifting"] = sum(bool(course.drift) for course in history.courses)
    numbers = joined([f"{number:,} {kind}" for kind, number in kinds.items() if number])
    return f"{history.metric.title or history.metric.name}: {numbers}."


def stories(history: History) -> list[str]:
    """Return a line for each change that is news and for each drift."""
    return list(chain.from_iterable(story(history, *pair) for pair in named_courses(history)))


def named_courses(history: History) -> list[tuple[Course, str]]:
    """Return each course with the short name of its case, and of its machine if there are several."""
    cases = list(dict.fromkeys(course.series.case for course in history.courses))
    name_by_case = dict(zip(cases, names.apart(cases)[0], strict=True))
    is_single = len({course.series.machine for course in history.courses}) == 1
    return [
        (course, name_by_case[course.series.case] + ("" if is_single else f" on {machine(history, course)}"))
        for course in history.courses
    ]


def machine(history: History, course: Course) -> str:
    """Return the machine of a course: ``AMD EPYC 7B13, 2 cores, torch 2.13.0 (a1b2)``."""
    fingerprint = course.series.machine
    words = history.machines.get(fingerprint)
    return f"{words} ({fingerprint[:4]})" if words else fingerprint


def story(history: History, course: Course, name: str) -> Iterator[str]:
    """Yield a sentence for each change of a course that is news, and for its drift."""
    for change in course.changes:
        if history.is_news(change):
            yield f"{name}: {sentence(change, history.metric.unit)}"
    if course.drift:
        yield f"{name}: {drift(course)}"


def sentence(change: Change, unit: str) -> str:
    """Return ``slower by 3.2 % [2.4, 4.0] between 0123abc (2026-10-01) and b1c2d3e (2026-10-02): suspected``."""
    return f"{size(change, unit)} {where(change)}: {standing(change)}"


def size(change: Change, unit: str) -> str:
    """Return ``slower by 3.2 % [2.4, 4.0]``, without an interval for exact counts."""
    is_up, word = change.ratio.median > 1, direction(change, unit)
    if not math.isfinite(change.ratio.median):
        return f"{word}, from zero"
    if change.word == "exact":
        return f"{word} by {units.percent(abs(change.ratio.median - 1))}"
    low, high = sorted(abs(100 * (end - 1)) if (end > 1) == is_up else 0.0 for end in change.ratio[1:])
    return f"{word} by {percent(abs(change.ratio.median - 1))} [{low:.1f}, {high:.1f}]"


def direction(change: Change, unit: str) -> str:
    """Return ``slower`` or ``faster`` for a unit of seconds, else ``higher`` or ``lower``."""
    is_up = change.ratio.median > 1
    return ("slower" if is_up else "faster") if unit == "s" else ("higher" if is_up else "lower")


def where(change: Change) -> str:
    """Return ``between 0123abc (2026-10-01) and b1c2d3e (2026-10-02)``."""
    before, after = (f"{point.commit or 'no commit'} ({point.day})" for point in (change.before, change.after))
    return f"between {before} and {after}"


def standing(change: Change) -> str:
    """Return what is known about a change beyond its series, such as the result of a paired check."""
    confirmation = change.confirmation
    if change.word == "same code":
        return "the same commit on both sides, so not the code"
    if change.word == "exact":
        return "an exact count"
    if confirmation is None or change.word == "suspected":
        return "suspected"
    ratio = f", ratio {units.ratio(confirmation.ratio)}" if confirmation.ratio else ""
    upper = confirmation.ratio.high - 1 if confirmation.ratio else 0.0
    limit = f"the code is slower by no more than {percent(upper)}" if upper > 0 else "not the code"
    reason = {"refuted": f", so {limit}", "inconclusive": f": {confirmation.reason}"}.get(change.word, "")
    return f"{change.word} by a paired check{ratio}{reason} [{confirmation.file}]"


def drift(course: Course) -> str:
    """Return ``drifts by +3.2 % over 30 runs, 2026-09-01 to 2026-10-01``."""
    points, share = course.series.points, scales.percent(course.drift, signed=True)
    return f"drifts by {share} over {len(points)} runs, {points[0].day} to {points[-1].day}"


def quiet(history: History) -> str:
    """Count the series without a change, with the change that could have been seen, and the older changes."""
    steady_courses = [course for course in history.courses if not course.drift and not is_short(course, history.metric)]
    calm_courses = [course for course in steady_courses if not course.changes]
    past = [course for course in steady_courses if course.changes and not any(map(history.is_news, course.changes))]
    remark = f"; {counted(len(past), 'series', 'series')} changed before {history.since}, and not since" if past else ""
    short_count = sum(is_short(course, history.metric) for course in history.courses)
    remark += f"; {counted(short_count, 'series', 'series')} with too few runs" if short_count else ""
    spikes = sum(len(course.spikes) for course in history.courses)
    kind = "a single spike" if spikes == 1 else "single spikes"
    spike_text = f"; {counted(spikes, 'run')} left out as {kind}" if spikes else ""
    if short_count == len(history.courses):
        return "no series is long enough to show a change"
    if not calm_courses:
        head = "no news" if len(past) + short_count == len(history.courses) else "every series changed or drifts"
        return f"{head}{remark}{spike_text}"
    half = "half of them" if len(calm_courses) > 1 else "it"
    change = median_high(course.visible for course in calm_courses)  # infinite for counts, which show any change
    visible = f": a change of {percent(change)} would have been seen in {half}" if math.isfinite(change) else ""
    return f"no change in {counted(len(calm_courses), 'series', 'series')}{visible}{remark}{spike_text}"


def notes(run_notes: Sequence[Note]) -> list[str]:
    """Return one sentence per note."""
    return [
        NOTES[note.code].format(
            count=note.count,
            runs=counted(note.count, "run"),
            series=counted(note.count, "series", "series"),
            commits=counted(note.count, "commit"),
            confirmations=counted(note.count, "confirmation"),
            example=note.example,
        )
        for note in run_notes
    ]


def next_command(history: History, folder: str, command_of: Callable[[str], Command], line: Sequence[str] = ()) -> str:
    """Return the command to run next for the runs in a folder; empty if there is none.

    Only latency has one: no check measures another cost. ``command_of`` maps a run's directory to the command that made
    the run. ``line`` holds the commits of this repository, oldest first: between two neighbours there is no search.
    """
    if history.metric.name != metrics.LATENCY.name:
        return ""
    current_changes = [(course, change) for course, change in history.changes if change in course.standing]
    neighbours = {(before[:12], after[:12]) for before, after in pairwise(line)}
    for course, change in current_changes:
        ends = (change.before.commit, change.after.commit)
        if change.word != "confirmed" or ends in neighbours:
            continue
        command = command_of(change.after.run)
        device = [] if command.device == Command.device else ["--device", command.device]
        span = ["--good", ends[0], "--bad", ends[1], "--only", glob.escape(course.series.case)]
        return f"which commit: {shlex.join([*command.words_of('bisect'), *span, *device])}"
    if any(change.word == "suspected" and change.before.commit for _, change in current_changes):
        return f"to prove it: convbench history --store {shlex.quote(folder)} --confirm"
    return ""
