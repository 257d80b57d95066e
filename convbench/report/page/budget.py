"""The answers of the latency and memory sliders, computed in advance for every pair of limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from convbench.analysis.choice.by_budget import NAMES, Grid, by_cost, by_quality
from convbench.analysis.quality.qualities import has_training
from convbench.analysis.results import Result, costs
from convbench.report.words import budget as words

Answer = tuple[str, Result | None]


def budget(results: Sequence[Result]) -> dict[str, Any] | None:
    """Return the ``limits`` of the sliders, the distinct ``answers``, and per pair of limits its answers' indices.

    An answer is its words and the row of its pick, or None; there is one per task, or one if quality was not run. Pairs
    of limits are ordered by latency, then memory. Returns None if nothing was timed, or there is no choice.
    """
    if not any(result.latency for result in costs(results)):
        return None
    row_by_record = {id(result.record): row for row, result in enumerate(costs(results))}
    if has_training(result.record for result in results):
        tasks = by_quality(results)
        texts = [[_answers(answers, tasks.more) for answers in row] for row in tasks.answers]
        return _plain(tasks, texts, row_by_record)
    models = by_cost(results)
    texts = [[[(words.fitting(answer), answer.pick)] for answer in row] for row in models.answers]
    at_no_limit = models.answers[-1][-1]
    texts[-1][-1] = [(words.fitting(at_no_limit, is_limited=False), at_no_limit.pick)]
    return _plain(models, texts, row_by_record) if models.answers[-1][-1].number > 1 else None


def _answers(answers: Iterable[Any], count: int) -> list[Answer]:
    lines = [(words.by_task(answer), answer.pick.result if answer.pick else None) for answer in answers]
    return [*lines, (words.remainder(count), None)] if count else lines


def _plain(grid: Grid[Any], texts: list[list[list[Answer]]], row_by_record: dict[int, int]) -> dict[str, Any]:
    answers: dict[tuple[str, int | None], int] = {}

    def number(text: str, pick: Result | None) -> int:
        row = row_by_record.get(id(pick.record)) if pick else None
        return answers.setdefault((text, row), len(answers))

    cells = [[number(*answer) for answer in cell] for row in texts for cell in row]
    limits = {name: [[value, words.limit_text(name, value)] for value in grid.limits[name][:-1]] for name in NAMES}
    return {"limits": limits, "answers": [list(key) for key in answers], "cells": cells}
