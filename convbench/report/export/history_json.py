"""A history as plain objects for ``--json``: base units, ratios and shares, and the sentences of the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convbench.analysis.history.course import Change, Course
from convbench.analysis.history.overview import History
from convbench.core.storage.json_form import finite
from convbench.report.words import history as words


def plain(history: History) -> Mapping[str, Any]:
    """Return the ``series`` with points and changes, the ``notes`` in words, and the command's ``exit_code``."""
    return {
        "metric": history.metric.name,
        "unit": history.metric.unit,
        "runs": history.runs,
        "machines": dict(history.machines),
        "series": [_course(history, course) for course in history.courses],
        "notes": words.notes(history.notes),
        "words": words.lines(history),
        "exit_code": history.exit_code,
    }


def _course(history: History, course: Course) -> Mapping[str, Any]:
    series = course.series
    rows = zip(series.points, course.values, course.levels, strict=True)
    return {
        "case": series.case,
        "machine": series.machine,
        "protocol": series.protocol,
        "points": [
            {**point._asdict(), "normalised": value, "level": level} for point, value, level in rows
        ],
        "changes": [_change(change, history) for change in course.changes],
        "drift": course.drift,
        "spikes": list(course.spikes),
        "noise": course.noise,
        "visible": finite(course.visible),
    }  # fmt: skip


def _change(change: Change, history: History) -> Mapping[str, Any]:
    confirmation = change.confirmation
    return {
        "place": change.place,
        "commit": change.at.commit,
        "started": change.at.started,
        "before": change.before.commit,
        "after": change.after.commit,
        "ratio": [finite(end) for end in change.ratio],
        "worse": change.worse,
        "news": history.is_news(change),
        "word": change.word,
        "proof": confirmation.file if confirmation else None,
        "words": words.sentence(change, history.metric.unit),
    }
