"""Two or more runs side by side: ratios of latency case by case, and loudly what makes them hard to compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convbench.analysis.compare import Difference, Match, apart, by, differences, match, overall
from convbench.analysis.results import Result, costs, measured, results
from convbench.core.errors import ConvbenchError
from convbench.core.record import Record, Run
from convbench.report.drawing import Drawing, ratios
from convbench.report.page.page import figure, looks, put, render
from convbench.report.words import units
from convbench.report.words.answer import outcome
from convbench.report.words.facts import place
from convbench.report.words.names import setup

ROWS = 2_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def write(runs: Sequence[tuple[Run, Sequence[Record]]], path: Path) -> Path:
    """Write the page that lays these runs side by side; every ratio is over the first of them.

    Raises ConvbenchError for fewer than two runs or more than 26.
    """
    if not 2 <= len(runs) <= len(LETTERS):
        raise ConvbenchError(f"compare takes 2 to {len(LETTERS)} runs, not {len(runs)}")
    found = [results(records) for _, records in runs]
    return put(path, render("compare.html", {"size": 0}, **view([run for run, _ in runs], found)))


def view(runs: Sequence[Run], found: Sequence[Sequence[Result]]) -> dict[str, Any]:
    """What the template is filled with."""
    matches = match(found)
    differing = differences(runs)
    others = list(zip(range(1, len(runs)), LETTERS[1:], strict=False))
    shown = [_figure(matches, run, letter) for run, letter in others]
    return {
        "letters": LETTERS[: len(runs)],
        "runs": [_run(*one) for one in zip(LETTERS, runs, found, strict=False)],
        "sentences": [_sentence(matches, run, letter) for run, letter in others],
        "warnings": _warnings(matches, differing),
        "differing": [(one.key, [_text(value) for value in one.values], one.grave) for one in differing],
        "summaries": [(name, _summary(matches, name, len(runs))) for name in ("reducer", "variant", "scenario")],
        "figures": [one for one in shown if one],
        "rows": [_row(one) for one in sorted(matches, key=lambda one: -_furthest(one))[:ROWS]],
        "total": len(matches),
        "alone": [len(measured(several)) - _shared(matches, run)
                  for run, several in enumerate(found)],
        "looks": looks([one for several in found for one in costs(several)]),
    }  # fmt: skip


def _run(letter: str, run: Run, found: Sequence[Result]) -> dict[str, str]:
    return {"letter": letter, "name": run.name, "place": place(run), "outcome": outcome(run, found)}


def _sentence(matches: Sequence[Match], run: int, letter: str) -> str:
    ratio = overall(matches, run)
    if ratio is None:
        return f"{letter} shares no timed case with A."
    number = sum(one.ratios[run] is not None for one in matches)
    cases = "the one shared case" if number == 1 else f"{number:,} shared cases"
    spread = f"; nine in ten at {units.factor(ratio.low)} to {units.factor(ratio.high)}" if number > 1 else ""
    outside = sum(apart(one, run) > 0 for one in matches)
    more = {0: "No case differs", 1: "One case differs"}.get(outside, f"{outside:,} cases differ")
    more += f" by more than 10 % beyond noise{', first below' if outside else ''}."
    return f"{letter} takes {units.factor(ratio.median)} the time of A (median of {cases}{spread}). {more}"


def _warnings(matches: Sequence[Match], differing: Sequence[Difference]) -> list[str]:
    said = []
    grave = [one.key for one in differing if one.grave]
    if grave:
        said.append(
            f"These runs were not made under the same conditions: {', '.join(grave)} differ. A ratio here compares "
            "machines and settings as a whole; it says nothing of a change of code."
        )
    unequal = sum(one.counts_differ for one in matches)
    if unequal:
        said.append(
            f"Parameters or FLOPs differ in {unequal:,} cases: these are exact, so the models are not the same."
        )
    moved = [one for one in matches if len({r.case.device for r in one.results if r}) > 1]
    if moved:
        said.append("The runs share no device: cases are matched across devices, and memory is not comparable.")
    return said


def _summary(matches: Sequence[Match], name: str, runs: int) -> list[tuple[str, int, list[str]]]:
    """Median ratios by the values of a column; empty where it has only one value."""
    groups = by(matches, name)
    if len(groups) < 2:
        return []
    return [(value, len(several), [_mean(several, run) for run in range(1, runs)]) for value, several in groups.items()]


def _mean(matches: Sequence[Match], run: int) -> str:
    ratio = overall(matches, run)
    return units.factor(ratio.median) if ratio else units.MISSING


def _row(one: Match) -> dict[str, Any]:
    first = next(result for result in one.results if result)
    cells: list[tuple[str, float | None]] = []
    for result, ratio in zip(one.results, one.ratios, strict=True):
        latency = result.latency if result else None
        cells.append((units.interval(latency), latency.median if latency else None))
        if len(cells) > 1:
            cells.append((units.speedup(ratio) if ratio else units.MISSING, ratio.median if ratio else None))
    return {
        "series": first.series,
        "model": setup(first),
        "detail": f"{one.case.axes['backbone'] or ''} {one.case.clip} {one.case.scenario}".strip(),
        "cells": cells,
        "differ": one.counts_differ,
    }


def _figure(matches: Sequence[Match], run: int, letter: str) -> dict[str, Any] | None:
    """The ratios of one run over the first by reducer."""
    rows: dict[str, list[Any]] = {}
    for one in matches:
        ratio, result = one.ratios[run], one.results[run]
        if ratio and result:
            rows.setdefault(result.series, []).append(ratio)
    mean = overall(matches, run)
    if not rows or not mean:
        return None
    limits = ratios.ends(ratio for several in rows.values() for ratio in several)
    axes = ratios.draw(dict(sorted(rows.items())), limits, mean.median, f"Latency of {letter} over A · lower is better")
    caption = (
        f"How to read this: left of 1× run {letter} is faster than A. Bars are 95 % intervals of the ratio within one "
        f"process each (above {ratios.FEW} cases a reducer: their extremes); the dotted line is the median."
        + ratios.BAND
    )
    drawing = Drawing(f"ratio-{letter}", f"{letter} over A", caption, axes.figure)  # type: ignore[arg-type]
    return figure(drawing, f"ratio-{letter}")


def _furthest(one: Match) -> float:
    return max(apart(one, run) for run in range(1, len(one.ratios)))


def _shared(matches: Sequence[Match], run: int) -> int:
    return sum(one.results[run] is not None for one in matches)


def _text(value: object) -> str:
    return units.MISSING if value is None else str(value)
