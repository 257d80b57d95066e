"""Two or more runs side by side: ratios of latency by case, and prominent warnings if they are hard to compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convbench.analysis.compare import (
    KeyDifference,
    Match,
    Summary,
    differences,
    distance,
    overall,
    summaries,
    took_turns,
)
from convbench.analysis.compare import match as matches_of
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.results import Result, costs, measured_results
from convbench.analysis.results import results as results_of
from convbench.core import metrics
from convbench.core.errors import ConvbenchError
from convbench.core.record import Case, Record, RunDescription, Scalar
from convbench.core.statistics import Interval
from convbench.core.system import files
from convbench.core.text import counted
from convbench.report.drawing import Drawing, ratios
from convbench.report.drawing.style import distinguish
from convbench.report.page.figure import figure
from convbench.report.page.payload import looks, plain
from convbench.report.page.template import render
from convbench.report.words import comparison, facts, units
from convbench.report.words.answer import outcome
from convbench.report.words.names import kind, reducer, setup
from convbench.report.words.numbers import TIE

ROWS = 2_000
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
COLUMNS = ("reducer", "variant", "scenario", "backbone", "clip", "device")
"""Columns by which cases are summarized if they differ in them."""

SETTING = ("backbone", "RNN", "head", "clip", "scenario", "device", "threads")
"""What beside its model and variant describes a case: rows name that in which they differ."""

SummaryRow = tuple[str, int, list[tuple[str, bool]]]
"""A value, its number of cases, and per run the ratio and whether it is beyond a tie."""
Runs = Sequence[tuple[RunDescription, Sequence[Record]]]


def write(runs: Runs, path: Path, directories: Sequence[Path] = ()) -> Path:
    """Write the page that shows these runs side by side; every ratio is over the first of them.

    ``directories`` are the runs' folders in the same order, which the page names. Raises ConvbenchError for fewer than
    two runs or more than 26.
    """
    if not 2 <= len(runs) <= len(LETTERS):
        raise ConvbenchError(f"a page holds 2 to {len(LETTERS)} runs side by side, not {len(runs)}")
    run_results = [results_of(records) for _, records in runs]
    matches = matches_of(run_results)
    name = "-".join(dict.fromkeys(run.name for run, _ in runs))
    data = {"size": 0, "name": f"{name}-compared", "compared": _base_units(matches, len(runs))}
    with distinguish(result.series for results in run_results for result in results):
        values = view([run for run, _ in runs], run_results, matches)
    return files.write(path, render("compare.html", data, **values, folders=_folders(directories)))


def view(
    runs: Sequence[RunDescription], run_results: Sequence[Sequence[Result]], matches: Sequence[Match]
) -> dict[str, Any]:
    """Return the template's values."""
    diffs = differences(runs, [match.case for match in matches])
    other_runs = list(zip(range(1, len(runs)), LETTERS[1:], strict=False))
    figures = [_figure(matches, run, letter) for run, letter in other_runs]
    ratio_runs = [run for run, _ in other_runs if overall(matches, run)]
    letters, settings = LETTERS[: len(runs)], [_setting(match.case) for match in matches]
    shown = [name for name in SETTING if len({setting[name] for setting in settings}) > 1]
    return {
        "letters": letters,
        "over": [LETTERS[run] for run in ratio_runs],
        "runs": [_run(*row) for row in zip(LETTERS, runs, run_results, strict=False)],
        "heading": comparison.headline(matches, letters),
        "sentences": [comparison.sentence(matches, run, letter) for run, letter in other_runs] if runs[2:] else [],
        "notes": [note for run, letter in other_runs for note in comparison.notes(matches, run_results, run, letter)],
        "trainings": comparison.trainings(run_results, LETTERS),
        "warnings": comparison.warnings(matches, diffs),
        "differing": [(facts.title(difference.key), _values(difference), difference.grave) for difference in diffs],
        "summaries": _summaries([match for match in matches if any(match.ratios)], ratio_runs),
        "figures": [drawing for drawing in figures if drawing],
        "setting": ", ".join(shown),
        "alike": ", ".join(text for name, text in (settings or [{}])[0].items() if text and name not in shown),
        "rows": [_row(match, ratio_runs, shown) for match in sorted(matches, key=_rank, reverse=True)[:ROWS]],
        "total": len(matches),
        "tie": TIE,
        "paired": sum(_took_turns(match) for match in matches),
        "alone": [
            len(measured_results(results)) - sum(match.results[run] is not None for match in matches)
            for run, results in enumerate(run_results)
        ],
        "looks": looks([result for results in run_results for result in costs(results)]),
    }


def _folders(directories: Sequence[Path]) -> list[str]:
    """Return the names of the runs' folders, or their paths if two names are equal."""
    names = [directory.name for directory in directories]
    return names if len(set(names)) == len(names) and all(names) else [str(directory) for directory in directories]


def _run(letter: str, run: RunDescription, results: Sequence[Result]) -> dict[str, str]:
    pick = headline_of(results).pick
    return {
        "letter": letter,
        "name": run.name,
        "place": facts.place(run, results),
        "outcome": outcome(run, results),
        "pick": f"{setup(pick)}, {units.interval(pick.latency)}" if pick and pick.latency else units.MISSING,
    }


def _values(difference: KeyDifference) -> list[str]:
    """Return a fact of every run in words, or as stored if the words do not differ or the fact is a setting."""
    words = [facts.fact(difference.key, value) for value in difference.values]
    if len(set(words)) > 1 and not difference.key.startswith("protocol."):
        return words
    return [units.MISSING if value is None else str(value) for value in difference.values]


def _summaries(matches: Sequence[Match], runs: Sequence[int]) -> list[tuple[str, list[SummaryRow]]]:
    """Return each column's ``_summary``; users' own models get their usual names.

    ``runs`` are the indices of the runs that have a ratio.
    """
    members = [result for match in matches for result in match.results if result]
    names = {str(result.case.architecture): reducer(result) for result in reversed(members)}
    word = kind(members)
    tables = ((name, _summary(summaries(matches, name), runs)) for name in COLUMNS)
    return [
        (word if name == "reducer" else name, [(names.get(value, value), cases, texts) for value, cases, texts in rows])
        for name, rows in tables
    ]


def _summary(groups: Sequence[Summary], runs: Sequence[int]) -> list[SummaryRow]:
    """Return the paired ratios by the values of a column, the furthest from 1 first; empty if it has one value."""
    if len(groups) < 2:
        return []
    return [
        (
            group.value,
            group.cases,
            [(_ratio(ratio), distance(ratio) > 0) for run, ratio in enumerate(group.ratios, start=1) if run in runs],
        )
        for group in sorted(groups, key=lambda group: _furthest(group.ratios), reverse=True)
    ]


def _furthest(ratios: Sequence[Interval | None]) -> float:
    """Return how far the furthest of these ratios is from 1, as a logarithm; 0 without any."""
    return max((abs(math.log(ratio.median)) for ratio in ratios if ratio and ratio.median > 0), default=0.0)


def _ratio(ratio: Interval | None) -> str:
    return units.speedup(ratio) if ratio else units.MISSING


def _row(match: Match, runs: Sequence[int], shown: Sequence[str]) -> dict[str, Any]:
    """Return a row: the latency in every run, and for those in ``runs`` the ratio and its direction beyond noise.

    ``shown`` are the settings in which the cases differ, which the row names.
    """
    first_result = next(result for result in match.results if result)
    cells: list[tuple[str, float | None, str]] = []
    for run, (result, ratio) in enumerate(zip(match.results, match.ratios, strict=True)):
        latency = result.latency if result else None
        cells.append((units.interval(latency), latency.median if latency else None, ""))
        if run in runs:
            cells.append((_ratio(ratio), ratio.median if ratio else None, _direction(ratio)))
    return {
        "series": first_result.series,
        "model": setup(first_result),
        "detail": " ".join(filter(None, map(_setting(match.case).__getitem__, shown))),
        "cells": cells,
        "differ": match.counts_differ,
    }


def _setting(case: Case) -> dict[str, str]:
    """Return by name all in which cases of one model and variant can differ, with an empty text for what has none."""
    axes = case.axes
    head = f"head of {axes['head']}" if axes["head"] else ""
    threads = counted(case.threads, "thread") if case.threads else ""
    texts = (axes["backbone"], axes["rnn"], head, case.clip, case.scenario, case.device, threads)
    return {name: str(text or "") for name, text in zip(SETTING, texts, strict=True)}


def _direction(ratio: Interval | None) -> str:
    """Return ``slower`` or ``faster`` if the whole interval of a ratio is beyond a tie, else nothing."""
    if ratio is None or not distance(ratio):
        return ""
    return "slower" if ratio.median > 1 else "faster"


def _base_units(matches: Sequence[Match], runs: int) -> dict[str, list[Any]]:
    """Return every shared case in base units, as column names and lines of values."""
    ends = ("median", "low", "high")
    names = ["case"]
    for letter in LETTERS[:runs]:
        names += [f"{letter}_{metric.name}" for metric in (metrics.PARAMS, metrics.FLOPS, metrics.MEMORY)]
        names += [f"{letter}_{metrics.LATENCY.name}_{end}" for end in ends]
        names += [f"{letter}_over_A_{end}" for end in ends] if letter != "A" else []
    return {"names": names, "lines": [[match.case.id, *_numbers(match)] for match in matches]}


def _numbers(match: Match) -> list[Scalar]:
    numbers: list[Scalar] = []
    for run, (result, ratio) in enumerate(zip(match.results, match.ratios, strict=True)):
        numbers += [result.params, result.flops, result.memory] if result else [None] * 3
        numbers += _ends(result.latency if result else None) + (_ends(ratio) if run else [])
    return [plain(number) for number in numbers]


def _ends(interval: Interval | None) -> list[Scalar]:
    return list(interval) if interval else [None] * 3


def _figure(matches: Sequence[Match], run: int, letter: str) -> dict[str, Any] | None:
    """Return the figure of one run's ratios over the first by reducer, None without a ratio."""
    rows: dict[str, list[Interval]] = {}
    for match in matches:
        ratio, result = match.ratios[run], match.results[run]
        if ratio and result:
            rows.setdefault(result.series, []).append(ratio)
    middle = overall(matches, run)
    if not rows or not middle:
        return None
    limits = ratios.ends(ratio for row in rows.values() for ratio in row)
    axes = ratios.draw(
        dict(sorted(rows.items())), limits, middle.median, f"Latency of {letter} over A · lower is better"
    )
    caption = (
        f"How to read this: left of 1× run {letter} is faster than A. Bars are 95 % intervals of the ratio of a case "
        f"(above {ratios.FEW} cases a reducer: their extremes); the dotted line is the median." + ratios.BAND
    )
    drawing = Drawing(f"ratio-{letter}", f"{letter} over A", caption, axes.figure)
    return figure(drawing, f"ratio-{letter}")


def _rank(match: Match) -> tuple[float, float]:
    """Return the sort key of a case: how far it is beyond noise, then how far its ratio is from 1."""
    return max(map(distance, match.ratios[1:])), _furthest(match.ratios)


def _took_turns(match: Match) -> bool:
    """Whether any run took turns with the first in this case."""
    first, *others = match.results
    return first is not None and any(other and took_turns(first.record, other.record) for other in others)
