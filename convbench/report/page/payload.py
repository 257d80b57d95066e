"""What the page's script works on, as plain data: columns coded by distinct values, numbers kept short."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from convbench.analysis.costs.headlines import headline_of
from convbench.analysis.costs.likeness import alike
from convbench.analysis.costs.selection import curves, opening
from convbench.analysis.results import Result, shown_metrics
from convbench.analysis.table import column, row_of
from convbench.core import metrics
from convbench.core.commands import Command
from convbench.core.metric import Metric
from convbench.core.record import RunDescription
from convbench.core.text import file_stem
from convbench.report.drawing.style import AREA, HUES, WEIGHT, look, marker_path
from convbench.report.page import rows
from convbench.report.page.visits import distribution, percentiles
from convbench.report.words import units
from convbench.report.words.findings import sentence

FILTERS = (
    "backbone", "variant", "scenario", "device", "threads", "clip", "rnn", "layer_norm", "head", "model", "environment",
)  # fmt: skip
EXACT = 2.0**53


def payload(run: RunDescription, results: Sequence[Result]) -> dict[str, Any]:
    """Everything that the page can show of these results; a row is a result, in the given order."""
    lines = [row_of(result) for result in results]
    names = dict.fromkeys(name for line in lines for name in line if name != "case")
    series = sorted({result.series for result in results})
    words: dict[str, int] = {}
    view = opening(results)
    return {
        "name": run.name,
        "repeat": _repeat(run),
        "size": len(lines),
        "words": words,
        "ids": [[words.setdefault(word, len(words)) for word in result.case.id.split("/")] for result in results],
        "columns": {name: encode([plain(line.get(name)) for line in lines]) for name in names},
        "series": looks(results),
        "of": [series.index(result.series) for result in results],
        "group": key_numbers(alike(result) for result in results),
        "curve": encode(curves(results)),
        "against": encode(rows.references(results)),
        "axes": [_axis(metric) for metric in (metrics.LSTM_INPUT, *shown_metrics(results, "axes"))],
        "table": rows.cells(results, lambda values: encode([plain(value) for value in values])),
        "facts": _facts(results),
        "filters": [name for name in FILTERS if len({line.get(name) for line in lines} - {None}) > 1],
        "opening": dict(view.values) if view else {},
        "crossover": plain(headline_of(results).crossover),
        "findings": _findings(results),
        "visits": [distribution(result.record) for result in results],
        "percentiles": encode([percentiles(result) for result in results]),
    } | {"words": list(words)}


def encode(values: Sequence[Any]) -> dict[str, Any] | list[Any]:
    """The values, or their distinct values and a code for each where that is shorter; one value stands alone."""
    common = [value for value, _ in Counter(values).most_common()]
    if len(common) == 1:
        return {"v": common}
    if len(common) > len(values) / 2:
        return list(values)
    codes = {value: code for code, value in enumerate(common)}
    return {"v": common, "c": [codes[value] for value in values]}


def key_numbers(keys: Iterable[Hashable]) -> list[int]:
    """A number for each distinct key, in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _repeat(run: RunDescription) -> dict[str, Any]:
    """What stands before the pattern of a case, between it and its number, and after that.

    The page joins them to what measures one case again: a command line, or a call of the API where that made the run.
    It writes to a directory of its own: in that of the run it would set the whole run aside.
    """
    directory = f"reports/again/{file_stem(run.name) or 'run'}-"
    command = Command.of(run).of_one_case()
    if command.python:
        prefix = f"{str(command)[:-1]}, only=["
        return {"python": True, "before": prefix, "between": f'], out="{directory}', "after": '")'}
    return {"python": False, "before": f"{command} --only ", "between": f" --out {directory}", "after": ""}


def plain(value: Any) -> Any:
    """Whole numbers as they are, others with six significant digits; None for what JSON cannot say."""
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    if value.is_integer() and abs(value) < EXACT:
        return int(value)
    return float(f"{value:.6g}")


def _axis(metric: Metric) -> dict[str, Any]:
    """What the script needs to draw a metric on an axis; ``scale`` are the steps of its ticks."""
    return {
        "name": metric.option,
        "column": column(metric),
        "words": metric.title,
        "unit": metric.unit,
        "better": metric.better,
        "scale": [] if metric is metrics.LSTM_INPUT else units.tick_scale(metric.unit),
    }


def _facts(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Further metrics of the pinned card that any of these cases has: the key of their column, or texts without one."""
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
    value = result.value(metric)
    return None if value is None else units.human(value, metric.unit, metric.digits)


def looks(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Colour and shape of every reducer as the page draws them, for the legend that is also the filter."""
    return [_look(name) for name in sorted({result.series for result in results})]


def _look(name: str) -> dict[str, Any]:
    colour, marker = look(name)
    return {
        "name": name,
        "hue": HUES.index(colour),
        "colour": colour,
        "shape": marker_path(marker, AREA * WEIGHT.get(marker, 1.0)),
    }


def _findings(results: Sequence[Result]) -> dict[str, Any]:
    """The distinct sentences, and for each row that has findings which of them, warnings marked."""
    sentences: dict[tuple[str, str], int] = {}
    codes_of_row = {
        index: [
            sentences.setdefault((f.level, sentence(f, result.case.device)), len(sentences))
            for f in result.record.findings
        ]
        for index, result in enumerate(results)
        if result.record.findings
    }
    return {
        "sentences": [list(pair) for pair in sentences],
        "of": {str(index): codes for index, codes in codes_of_row.items()},
    }
