"""The history of many runs as a page: first the changes, then a figure per series, and a table of all series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convbench.analysis.history.course import Change, Course, is_short
from convbench.analysis.history.overview import History
from convbench.core.system import files
from convbench.core.text import counted
from convbench.report.drawing import course as drawing
from convbench.report.page.figure import figure
from convbench.report.page.template import render
from convbench.report.words import history as words
from convbench.report.words import units
from convbench.report.words.numbers import percent

FIGURES = 40
"""Number of series with a figure, those with changes first; the table has all series."""
TAGS = {"confirmed": "refuted", "suspected": "depends", "inconclusive": "undecided", "refuted": "supported"}
"""Colours of the states, by the CSS class of a verdict: a confirmed change is red, like a refuted claim."""
UNCHECKED = "seen in stored runs; its commits are not yet checked"


def write(history: History, path: Path, command: str = "") -> Path:
    """Write the page; the same history gives the same bytes. Raises StoreError if it cannot be written.

    ``command`` is the command to run next with its purpose, ``to prove it: convbench history ...``.
    """
    return files.write(path, render("history.html", {"size": 0}, **view(history, command)))


def view(history: History, command: str = "") -> dict[str, Any]:
    """Return the template's values."""
    stories = words.stories(history)
    pairs = sorted(words.named_courses(history), key=lambda pair: (-_weight(history, pair[0]), pair[1]))
    return {
        "answer": words.answer(history),
        "runs": words.heading(history),
        "stories": stories if len(stories) > 1 else [],
        "quiet": words.quiet(history) if stories else "",
        "next": command.partition(": ")[::2] if command else (),
        "notes": words.notes(history.notes),
        "figures": [
            figure(drawing.draw(course, history.metric, f"series{number}", name), f"series{number}")
            for number, (course, name) in enumerate(pairs[:FIGURES])
        ],
        "left": max(0, len(pairs) - FIGURES),
        "changes": [_change(history, name, change) for course, name in pairs for change in course.changes],
        "rows": [_row(history, *pair) for pair in pairs],
        "machines": {fingerprint: text or "unknown" for fingerprint, text in history.machines.items()},
    }


def _weight(history: History, course: Course) -> int:
    """Return how urgent a course is: 3 for a new confirmed regression, 2 for another, 1 for any change or drift."""
    states = {change.word for change in course.standing if history.is_news(change)}
    return 3 if "confirmed" in states else 2 if states else bool(course.changes or course.drift)


def _change(history: History, name: str, change: Change) -> dict[str, Any]:
    confirmation = change.confirmation
    return {
        "name": name,
        "size": words.size(change, history.metric.unit),
        "where": words.where(change),
        "word": change.word,
        "tag": TAGS.get(change.word, "") if change.worse else "",
        "news": history.is_news(change),
        "standing": UNCHECKED if change.word == "suspected" else words.standing(change),
        "place": confirmation.machine if confirmation else "",
    }


def _row(history: History, course: Course, name: str) -> dict[str, Any]:
    points = course.series.points
    changes = counted(len(course.changes), "change") if course.changes else "no change"
    unit, level, has_few_runs = history.metric.unit, float(course.levels[-1]), is_short(course, history.metric)
    return {
        "name": name,
        "runs": len(points),
        "span": f"{points[0].day} to {points[-1].day}",
        "now": (units.human(level, unit), level),
        "noise": (units.MISSING, "") if has_few_runs else (percent(course.noise), course.noise),
        "visible": (percent(course.visible) if course.visible < 10 else units.MISSING, min(course.visible, 1e9)),
        "course": words.drift(course) if course.drift else "too few runs to tell" if has_few_runs else changes,
    }
