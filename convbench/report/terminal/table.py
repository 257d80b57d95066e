"""Results in a terminal: a table for 80 to 160 columns, and a plain line per case for other outputs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from convbench.analysis.costs.headlines import withheld_results
from convbench.analysis.costs.likeness import situation
from convbench.analysis.costs.ranking import factors, reorders
from convbench.analysis.results import Result, measured_results, own_metrics, shown_metrics, typical
from convbench.analysis.results import result as result_of
from convbench.analysis.results import results as results_of
from convbench.core import metrics
from convbench.core.case import Options, common_options
from convbench.core.grouping import grouped
from convbench.core.metric import Metric
from convbench.core.record import Record
from convbench.core.statistics import Interval
from convbench.core.text import inside, one_line
from convbench.report.words import names, units
from convbench.report.words.findings import failure
from convbench.report.words.names import around_reducer, threads_of
from convbench.report.words.numbers import APART, PAIRED, cell, percent


class TerminalColumn(NamedTuple):
    """A heading, the text of a result given its factor over the fastest similar case, and the width from which it fits.

    In a narrower terminal the column is shown only if there is room.
    """

    heading: str
    text: Callable[[Result, Interval | None], str]
    from_width: int = 0
    numeric: bool = True


FROM_WIDTH = {metrics.PARAMS: 112, metrics.MACS: 120, metrics.MEMORY: 128, metrics.FRAMES_PER_S: 104}
"""Narrower terminals without room leave these columns out, but never latency and the metrics of users' own probes.

The interval of the latency comes before them, from 80 columns.
"""
ROWS = 100
"""Greatest number of rows in a table."""
WITHIN_VARIANT = "× is the latency over that of the fastest case in the same variant."
Cells = dict[TerminalColumn, list[str]]
"""The texts of every column."""


def _columns(results: Sequence[Result]) -> list[TerminalColumn]:
    """Return the columns: the case, then every metric that tables show, users' own last."""
    model = TerminalColumn(names.kind(results), lambda result, _: names.reducer(result), numeric=False)
    cell_name = names.common_cell(result.case.architecture for result in results)
    size = TerminalColumn(f"{cell_name} in", lambda result, _: units.integer(result.lstm_input))
    metric_columns = (_columns_of(metric) for metric in shown_metrics(results, "table"))
    return [model, size, _VARIANT, *chain.from_iterable(metric_columns)]


def _columns_of(metric: Metric) -> list[TerminalColumn]:
    heading = inside(metric.heading or metric.title)
    column = TerminalColumn(heading, lambda result, _: cell(result, metric), FROM_WIDTH.get(metric, 0))
    return [column, *_LATENCY] if metric is metrics.LATENCY else [column]


_VARIANT = TerminalColumn("variant", lambda result, _: result.case.variant_name, numeric=False)
_LATENCY = (
    TerminalColumn("95 % interval", lambda result, _: units.bounds(result.latency), from_width=80),
    TerminalColumn("×", lambda _, factor: units.factor(factor)),
)


class ResultTable:
    """A rich renderable: tables of comparable cases, fastest first, then the cases without a result and why.

    The cases of a table differ only in reducer, size and variant.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self.results = results_of(records)
        self.common = common_options(record.case.architecture for record in records)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        machines_differ = len({result.group.environment for result in measured_results(self.results)}) > 1
        situations = sorted(grouped(measured_results(self.results), situation).values(), key=len, reverse=True)
        tables = [_cells(members) for members in situations]
        headings = _headings(tables, options.max_width)
        for members, cells in zip(situations, tables, strict=True):
            yield Text(_title(members, machines_differ), style="table.title")
            yield _table(cells, headings)
            if len(members) > ROWS:
                yield Text(f"and {len(members) - ROWS:,} more in the report and in results.csv")
        if any("×" in headings and _is_scattered(members) for members in situations):
            yield Text(WITHIN_VARIANT, style="dim")
        if "×" in headings and any(map(reorders, situations)):
            yield Text(PAIRED, style="dim")
        unmeasured_records = [result.record for result in self.results if result.record.status != "ok"]
        for records in grouped(unmeasured_records, _reason).values():
            style = "red" if records[0].status == "failed" else "yellow"
            yield from (Text(text, style=style) for text in _reason_lines(records, self.common))


def line(record: Record, common: Mapping[str, Options] = MappingProxyType({})) -> str:
    """Return a finished case as one plain line; ``common`` are the run's ``common_options``."""
    name = record.case.short_id(common)
    if record.status != "ok":
        return one_line(f"{record.status:<7} {name}  {failure(record.failure)}")
    notes = f"  ({', '.join(finding.code for finding in record.findings)})" if record.findings else ""
    text = _trial(record) if record.case.trial else _cost(result_of(record))
    return one_line(f"ok      {name}  {text}{notes}")


def _reason(record: Record) -> str:
    return one_line(f"{record.status:<7} {failure(record.failure)}")


def _reason_lines(records: Sequence[Record], common: Mapping[str, Options]) -> list[str]:
    """Return the cases that have no result for one reason. If there are more than two, it is stated once."""
    if len(records) <= 2:
        return [line(record, common) for record in records]
    return [_reason(records[0]), *(one_line(f"        {record.case.short_id(common)}") for record in records)]


def _cost(result: Result) -> str:
    latency = f"{units.interval(result.latency)}  " if result.latency else ""
    numbers = {"params": result.params, "MACs": result.macs}
    texts = [f"{units.count(number)} {name}" for name, number in numbers.items() if number is not None]
    if not (latency or texts):
        sizes = {"memory": result.memory, "predicted memory": result.value(metrics.PREDICTED)}
        texts = [f"{name} {units.size(size)}" for name, size in sizes.items() if size is not None]
    probes = (metric for metric in own_metrics([result]) if "table" in metric.shown)
    return latency + ", ".join([*texts, *(f"{inside(m.title)} {units.human(result.value(m), m.unit)}" for m in probes)])


def _trial(record: Record) -> str:
    """Return a trial's test accuracy and chance, or its linear read-outs; the id has task, seed and learning rate."""
    if record.case.reads_out:
        where_r2 = typical(record, metrics.WHERE_R2)
        where = units.MISSING if where_r2 is None else f"{where_r2:.2f}"
        return f"where R² {where}, what accuracy {percent(typical(record, metrics.WHAT_ACCURACY))}"
    classes = typical(record, metrics.CLASSES)
    chance, majority = 1 / classes if classes else None, typical(record, metrics.MAJORITY) or 0.0
    text = f"test accuracy {percent(typical(record, metrics.TEST_ACCURACY))}, chance {percent(chance)}"
    return f"{text}, the commonest class {percent(majority)}" if chance and majority - chance > APART else text


def _title(members: Sequence[Result], machines_differ: bool) -> str:
    """Return what all cases of a table share, with the machine if ``machines_differ``; may be wider than the table."""
    result = members[0]
    group = result.group
    place = f"{group.scenario}, {group.device}, clip {group.clip}, {group.dtype}{threads_of(group)}"
    machine = f", environment {group.environment}" if machines_differ else ""
    reason = "; latencies withheld, as no visit was undisturbed" if withheld_results(members) == members else ""
    return one_line(f"{around_reducer(result)}, {place}{machine}{reason}")


def _is_scattered(members: Sequence[Result]) -> bool:
    """Whether the factors of a table are over several cases, each the fastest of its variant."""
    return len({factor.fastest for factor in factors(members).values()}) > 1


def _cells(members: Sequence[Result]) -> Cells:
    """Return the texts of the columns that have any value, the cases fastest first.

    The factor is over the fastest similar case: of the same variant, or of any if no variant has two cases.
    """
    results = sorted(members, key=lambda result: (result.latency is None, result.latency or (0,), result.params or 0))
    factor_by_index = factors(results)
    ratios = [factor_by_index[i].ratio if i in factor_by_index else None for i in range(len(results[:ROWS]))]
    cells = {
        column: [one_line(column.text(result, factor)) for result, factor in zip(results, ratios, strict=False)]
        for column in _columns(members)
    }
    return {column: texts for column, texts in cells.items() if set(texts) - {"", units.MISSING}}


def _headings(tables: Sequence[Cells], width: int) -> set[str]:
    """Return the headings of the shown columns: those meant for this width, and others that fit into all tables.

    Without a latency, other columns take its place, and long names are folded: a table of names alone says nothing.
    """
    width_by_heading = {column.heading: column.from_width for cells in tables for column in cells}
    if _LATENCY[0].heading not in width_by_heading:
        width_by_heading = {heading: min(from_width, 80) for heading, from_width in width_by_heading.items()}
    headings = {heading for heading, from_width in width_by_heading.items() if from_width <= width}
    for heading in sorted(width_by_heading.keys() - headings, key=lambda heading: width_by_heading[heading]):
        if all(_width(cells, {*headings, heading}) <= width for cells in tables):
            headings.add(heading)
    return headings


def _width(cells: Cells, headings: Collection[str]) -> int:
    columns = (column for column in cells if column.heading in headings)
    return sum(max(map(cell_len, (column.heading, *cells[column]))) + 2 for column in columns)


def _table(cells: Cells, headings: Collection[str]) -> Table:
    grid = Table(box=None, padding=(0, 1), pad_edge=False)
    columns = [column for column in cells if column.heading in headings]
    for column in columns:
        grid.add_column(
            column.heading, justify="right" if column.numeric else "left", no_wrap=column.numeric, overflow="fold"
        )
    for row in zip(*(cells[column] for column in columns), strict=True):
        grid.add_row(*map(Text, row))
    return grid
