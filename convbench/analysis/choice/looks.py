"""Looking again after more seeds, which is a test each time, and at what error.

The look ``n`` (1, 2, ...) has the error 5 % / n(n + 1), which over all looks, however many there are, sums up to 5 % at
most: a pick that ``until sure`` calls sure is wrong at most so often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.inference.noninferior import ERROR
from convbench.core.record import Record

LOOK = "look"
"""The condition under which a record says at which look it was added; without it, at none."""


def look_of(records: Iterable[Record]) -> int:
    """How many times the answers of these records were looked at, with seeds added each time but the first."""
    return max((int(record.conditions.get(LOOK) or 1) for record in records), default=1)


def error_at(look: int) -> float:
    """The error of one look of several, the first being 1; all of them together have at most ``ERROR``."""
    return ERROR / (look * (look + 1))


def at_look(ask: Ask, look: int) -> Ask:
    """The same question, asked at one look of several."""
    return replace(ask, error=error_at(look))
