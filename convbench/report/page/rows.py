"""The table of all cases: its columns, the text of every cell, and the values to sort by.

All texts are made here: the template puts the first rows into the page, and the page's script shows the same texts for
further rows, sorted and filtered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from convbench.analysis.costs.ranking import factors
from convbench.analysis.results import Result, costs, measured_results, shown_metrics
from convbench.analysis.table import column as csv_column
from convbench.core import metrics
from convbench.core.metric import Metric
from convbench.core.record import Parts
from convbench.core.statistics import Interval
from convbench.report.words import names, units
from convbench.report.words.numbers import cell

ROWS = 100
"""Number of rows in the page without its script."""


@dataclass(frozen=True)
class CaseEntry:
    """A measured case: its place among all costs, its result, and its latency over that of the fastest similar case."""

    index: int
    result: Result
    factor: Interval | None


@dataclass(frozen=True)
class PageColumn:
    """A column: its key, heading, text of a cell, and sort key.

    ``rank`` is the name of a CSV column, or a function that returns a number or text for an entry.
    """

    key: str
    heading: str
    text: Callable[[CaseEntry], str]
    rank: str | Callable[[CaseEntry], str | float | None]
    numeric: bool = True


@dataclass(frozen=True)
class PageRow:
    """A case as the template shows it."""

    index: int
    cells: tuple[str, ...]
    series: str


def columns(results: Sequence[Result]) -> list[PageColumn]:
    """Return the columns: model and latency, which a phone shows, then backbone, variant and other axes, then metrics.

    Other axes, such as the clip, have a column only if the cases differ in them.
    """
    cases = measured_results(results)
    page_metrics = [
        metric for metric in shown_metrics(results, "page") if any(result.value(metric) is not None for result in cases)
    ]
    groups = {metric.option: _columns_of(metric) for metric in page_metrics}
    model = PageColumn("reducer", names.kind(results).capitalize(), _reducer, _reducer, numeric=False)
    metric = names.input_size(result.case.architecture for result in cases)
    size = PageColumn(metric.name, metric.heading, lambda row: units.integer(row.result.lstm_input), metric.name)
    other_columns = [
        column for column in _ELSE if len({column.text(CaseEntry(0, result, None)) for result in cases}) > 1
    ]
    place = (*_PLACE, *other_columns)
    return [model, size, *groups.pop(metrics.LATENCY.option, ()), *place, *chain.from_iterable(groups.values())]


def entries(results: Sequence[Result]) -> list[CaseEntry]:
    """Return the measured cases of these results, fastest first; indices count all costs."""
    cases = costs(results)
    factor_by_index = factors(cases)
    rows = [
        CaseEntry(i, result, factor_by_index[i].ratio if i in factor_by_index else None)
        for i, result in enumerate(cases)
        if result.record.status == "ok"
    ]
    return sorted(rows, key=lambda row: (row.result.latency is None, row.result.latency or (0,), row.index))


def references(results: Sequence[Result]) -> list[int | None]:
    """Return for each cost the index of the fastest similar case, to which its factor refers; None if untimed."""
    cases = costs(results)
    factor_by_index = factors(cases)
    return [factor_by_index[i].fastest if i in factor_by_index else None for i in range(len(cases))]


def first_rows(results: Sequence[Result]) -> list[PageRow]:
    """Return the rows that the page has without its script."""
    table_columns = columns(results)
    return [
        PageRow(row.index, tuple(column.text(row) for column in table_columns), row.result.series)
        for row in entries(results)[:ROWS]
    ]


def cells(results: Sequence[Result], encode: Callable[[Sequence[Any]], Any]) -> dict[str, dict[str, Any]]:
    """Return by column the texts and sort keys of every cost, in their order; None for cases that were not measured."""
    rows: list[CaseEntry | None] = [None] * len(costs(results))
    for row in entries(results):
        rows[row.index] = row
    return {
        column.key: {
            "text": encode([row and column.text(row) for row in rows]),
            "rank": rank if isinstance(rank := column.rank, str) else encode([row and rank(row) for row in rows]),
        }
        for column in columns(results)
    }


def _columns_of(metric: Metric) -> list[PageColumn]:
    """Return a metric's column; for latency also its interval and its factor over the fastest similar case."""

    def text(row: CaseEntry) -> str:
        return cell(row.result, metric)

    column = PageColumn(metric.option, metric.heading or metric.title, text, csv_column(metric))
    return [column, *_LATENCY] if metric is metrics.LATENCY else [column]


def _reducer(row: CaseEntry) -> str:
    architecture = row.result.case.architecture
    return names.with_norm(architecture) if isinstance(architecture, Parts) else names.reducer(row.result)


def _variant(row: CaseEntry) -> str:
    case = row.result.case
    return case.variant_name if case.scenario == "inference" else f"{case.variant_name}, {case.scenario}"


def _number_type(row: CaseEntry) -> str:
    return row.result.group.dtype


def _part(name: str, heading: str, numeric: bool = False) -> PageColumn:
    """Return the column of a part of the architecture, with a dash for a user's own model, which has no such part."""

    def text(row: CaseEntry) -> str:
        part = getattr(row.result.case.architecture, name, None)
        return units.integer(part) if numeric else str(part or units.MISSING)

    return PageColumn(name, heading, text, name, numeric)


def _width(row: CaseEntry) -> float | None:
    latency = row.result.latency
    return latency.high - latency.low if latency and latency.bounded else None


_PLACE = (
    _part("backbone", "Backbone"),
    PageColumn("variant", "Variant", _variant, "variant", numeric=False),
)
_ELSE = (
    _part("rnn", "RNN"),
    _part("head", "Head", numeric=True),
    PageColumn("number_type", "Number type", _number_type, _number_type, numeric=False),
    PageColumn("clip", "Clip", lambda row: str(row.result.case.clip), "clip", numeric=False),
    PageColumn("device", "Device", lambda row: row.result.case.device, "device", numeric=False),
    PageColumn(
        metrics.THREADS.name,
        metrics.THREADS.title,
        lambda row: str(row.result.group.threads or units.MISSING),
        metrics.THREADS.name,
    ),
    PageColumn("environment", "Environment", lambda row: row.result.group.environment, "environment", numeric=False),
)
_LATENCY = (
    PageColumn("interval", "95 % interval", lambda row: units.bounds(row.result.latency), _width),
    PageColumn("factor", "×", lambda row: units.factor(row.factor), lambda row: row.factor and row.factor.median),
)
