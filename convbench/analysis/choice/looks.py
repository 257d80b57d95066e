"""Set the error of looking again after more seeds, since each look is a test.

Look ``n`` (1, 2, ...) has the error 5 % / n(n + 1). Over all looks, however many, these errors sum up to 5 % at most: a
pick that ``until sure`` calls sure is wrong at most that often.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from convbench.analysis.choice.recommendation import Ask
from convbench.analysis.inference.noninferior import ERROR
from convbench.core.record import Record

LOOK = "look"
"""The condition that holds the look at which a record was added; records without it are of the first."""


def look_of(records: Iterable[Record]) -> int:
    """Return how often the answers of these records were looked at; seeds were added each time but the first."""
    return max((int(record.conditions.get(LOOK) or 1) for record in records), default=1)


def error_at(look: int) -> float:
    """Return the error of one look, the first being 1; all of them together have at most ``ERROR``."""
    return ERROR / (look * (look + 1))


def at_look(ask: Ask, look: int) -> Ask:
    """Return the question with the error of one look of several."""
    return replace(ask, error=error_at(look))
