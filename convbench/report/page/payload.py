"""The data of the page's script: columns encoded by distinct values, and short numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from convbench.analysis.costs.chart_view import curves, initial_view
from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.costs.likeness import likeness
from convbench.analysis.results import Result, shown_metrics
from convbench.analysis.table import column, row_of
from convbench.core import metrics
from convbench.core.commands import Command
from convbench.core.metric import Metric
from convbench.core.record import RunDescription
from convbench.core.text import file_stem
from convbench.report.drawing.style import HUES, look, marker_path
from convbench.report.page import rows
from convbench.report.page.visits import distribution, percentiles
from convbench.report.words import units
from convbench.report.words.findings import sentence
from convbench.report.words.names import cell, input_size, pick_cell
from convbench.report.words.numbers import cost

FILTERS = (
    "backbone", "variant", "scenario", "device", "threads", "clip", "rnn", "layer_norm", "head", "model", "environment",
)  # fmt: skip
EXACT = 2.0**53


def payload(run: RunDescription, results: Sequence[Result]) -> dict[str, Any]:
    """Return all data that the page can show of these results; a row is a result, in the given order."""
    lines = [row_of(result) for result in results]
    names = dict.fromkeys(name for line in lines for name in line if name != "case")
    series = sorted({result.series for result in results})
    words: dict[str, int] = {}
    view, headline = initial_view(results), headline_of(results)
    size = input_size(result.case.architecture for result in results)
    return {
        "name": run.name,
        "repeat": _repeat(run),
        "size": len(lines),
        "words": words,
        "ids": [[words.setdefault(word, len(words)) for word in result.case.id.split("/")] for result in results],
        "columns": {name: encode([plain(line.get(name)) for line in lines]) for name in names},
        "series": looks(results),
        "of": [series.index(result.series) for result in results],
        "group": key_numbers(likeness(result) for result in results),
        "curve": encode(curves(results)),
        "against": encode(rows.references(results)),
        "axes": [_axis(metric) for metric in (size, *shown_metrics(results, "axes"))],
        "table": rows.cells(results, lambda values: encode([plain(value) for value in values])),
        "facts": _facts(results),
        "filters": [name for name in FILTERS if len({line.get(name) for line in lines} - {None}) > 1],
        "opening": dict(view.values) if view else {},
        "crossover": plain(headline.crossover),
        "cell": pick_cell(headline.pick),
        "findings": _findings(results),
        "visits": [distribution(result.record) for result in results],
        "percentiles": encode([percentiles(result) for result in results]),
    } | {"words": list(words)}


def encode(values: Sequence[Any]) -> dict[str, Any] | list[Any]:
    """Return the values, or their distinct values with a code for each if that is shorter; equal values only once."""
    common = [value for value, _ in Counter(values).most_common()]
    if len(common) == 1:
        return {"v": common}
    if len(common) > len(values) / 2:
        return list(values)
    codes = {value: code for code, value in enumerate(common)}
    return {"v": common, "c": [codes[value] for value in values]}


def key_numbers(keys: Iterable[Hashable]) -> list[int]:
    """Return a number for each key, by order of first appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _repeat(run: RunDescription) -> dict[str, Any]:
    """Return the text before a case's pattern, between it and the case's number, and after that.

    The page joins them to the command that measures one case again: a command line, or a call of the API if that made
    the run. It writes to a directory of its own: writing to the run's would set the whole run aside.
    """
    directory = f"reports/again/{file_stem(run.name) or 'run'}-"
    command = Command.of(run).of_one_case()
    if command.python:
        prefix = f"{str(command)[:-1]}, only=["
        return {"python": True, "before": prefix, "between": f'], out="{directory}', "after": '")'}
    return {"python": False, "before": f"{command} --only ", "between": f" --out {directory}", "after": ""}


def plain(value: Any) -> Any:
    """Return integers as they are and other numbers with six significant digits; None for values that JSON lacks."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    if value.is_integer() and abs(value) < EXACT:
        return int(value)
    return float(f"{value:.6g}")


def _axis(metric: Metric) -> dict[str, Any]:
    """Return what the script needs to draw a metric on an axis; ``scale`` has the units of its ticks."""
    return {
        "name": metric.option,
        "column": column(metric),
        "words": metric.title,
        "unit": metric.unit,
        "better": metric.better,
        "scale": [] if metric.unit == metrics.LSTM_INPUT.unit else units.tick_scale(metric.unit),
    }


def _facts(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return the pinned card's further metrics that any case has, each with the key of a column or its texts."""
    names = {reading.metric.name for result in results for reading in result.record.readings}
    candidates = [
        metric for metric in shown_metrics(results, "pin") if metric.name in names or metric in metrics.DERIVED
    ]
    pin_metrics = [metric for metric in candidates if any(_fact(result, metric) for result in results)]
    return [
        {"words": metric.title, "key": metric.option}
        if "page" in metric.shown
        else {"words": metric.title, "text": encode([_fact(result, metric) for result in results])}
        for metric in pin_metrics
    ]


def _fact(result: Result, metric: Metric) -> str | None:
    return None if result.value(metric) is None else cost(result, metric)


def looks(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Return the colour and shape of every reducer, for the legend, which is also a filter."""
    return [_look(name) for name in sorted({result.series for result in results})]


def _look(name: str) -> dict[str, Any]:
    colour, marker = look(name)
    return {"name": name, "hue": HUES.index(colour), "colour": colour, "shape": marker_path(marker)}


def _findings(results: Sequence[Result]) -> dict[str, Any]:
    """Return the distinct sentences with their levels, and for each row with findings their indices."""
    sentences: dict[tuple[str, str], int] = {}
    codes_of_row = {
        index: [
            sentences.setdefault(
                (finding.level, sentence(finding, result.case.device, cell(result.case.architecture))), len(sentences)
            )
            for finding in result.record.findings
        ]
        for index, result in enumerate(results)
        if result.record.findings
    }
    return {
        "sentences": [list(pair) for pair in sentences],
        "of": {str(index): codes for index, codes in codes_of_row.items()},
    }
