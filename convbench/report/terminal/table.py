"""Results in a terminal: a table that fits 80 to 160 columns, and one plain line a case where there is no terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from convbench.analysis.results import Group, Result, measured, result, results, typical
from convbench.core.record import Parts, Record
from convbench.report.words import units
from convbench.report.words.findings import failure
from convbench.report.words.names import reducer


class Column(NamedTuple):
    """A heading, the text of a result given its factor over the fastest, and the width from which it is shown."""

    heading: str
    text: Callable[[Result, float | None], str]
    from_width: int = 0
    numeric: bool = True


def _backbone(one: Result) -> str:
    architecture = one.case.architecture
    return str(architecture.backbone) if isinstance(architecture, Parts) else ""


def _latency(one: Result, _: float | None) -> str:
    return units.seconds(one.latency.median if one.latency else None)


def _bounds(one: Result, _: float | None) -> str:
    return units.interval(one.latency).partition(" [")[2].rstrip("]") if one.latency else units.MISSING


COLUMNS = (
    Column("reducer", lambda one, _: reducer(one), numeric=False),
    Column("backbone", lambda one, _: _backbone(one), from_width=140, numeric=False),
    Column("LSTM in", lambda one, _: f"{one.lstm_input:,}" if one.lstm_input else units.MISSING),
    Column("variant", lambda one, _: one.case.variant_name, numeric=False),
    Column("params", lambda one, _: units.count(one.params), from_width=96),
    Column("MACs", lambda one, _: units.count(one.macs), from_width=104),
    Column("latency", _latency),
    Column("95 % interval", _bounds, from_width=120),
    Column("×", lambda _, factor: units.factor(factor)),
    Column("memory", lambda one, _: units.size(one.memory), from_width=112),
    Column("frames/s", lambda one, _: units.count(one.frames_per_s), from_width=88),
)


ROWS = 100
"""Rows of one table."""


class Results:
    """A rich renderable: one table a comparable group, fastest first, then what has no result and why."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.found = results(records)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for group, members in _groups(self.found).items():
            yield _table(group, members, options.max_width)
            if len(members) > ROWS:
                yield Text(f"and {len(members) - ROWS:,} more in the report and in results.csv")
        for one in self.found:
            if one.record.status != "ok":
                yield Text(line(one.record), style="red" if one.record.status == "failed" else "yellow")


def table(records: Sequence[Record]) -> Results:
    """What ``rich`` prints for these records; columns are left out where the terminal is narrow."""
    return Results(records)


def line(record: Record) -> str:
    """One finished case in one plain line, whatever its names hold."""
    one = result(record)
    if record.status != "ok":
        return _plain(f"{record.status:<7} {record.case.id}  {failure(record.failure)}")
    notes = f"  ({', '.join(finding.code for finding in record.findings)})" if record.findings else ""
    said = _tried(record) if record.case.trial else _cost(one)
    return _plain(f"ok      {record.case.id}  {said}{notes}")


def _cost(one: Result) -> str:
    latency = f"{units.interval(one.latency)}  " if one.latency else ""
    return f"{latency}{units.count(one.params)} params, {units.count(one.macs)} MACs"


def _tried(record: Record) -> str:
    """Test accuracy against chance, or what a linear read-out finds; task, seed and learning rate are in the id."""
    if record.case.scenario == "probe":
        where, what = typical(record, "where_r2"), typical(record, "what_accuracy")
        return f"where R² {_share(where, 1)}, what accuracy {_share(what)}"
    classes = typical(record, "classes")
    chance = 1 / classes if classes else None
    return f"test accuracy {_share(typical(record, 'test_accuracy'))}, chance {_share(chance)}"


def _share(value: float | None, scale: int = 100) -> str:
    if value is None:
        return units.MISSING
    return f"{value:.2f}" if scale == 1 else f"{scale * value:.1f} %"


def _groups(found: Sequence[Result]) -> dict[Group, list[Result]]:
    groups: dict[Group, list[Result]] = {}
    for one in measured(found):
        groups.setdefault(one.group, []).append(one)
    return groups


def _table(group: Group, members: Sequence[Result], width: int) -> Table:
    """One comparable group; the factor is against its fastest case."""
    shown = [column for column in COLUMNS if column.from_width <= width]
    title = f"{group.scenario}, {group.device}, clip {group.clip}, {group.dtype}"
    made = Table(title=Text(title), title_justify="left", box=None, padding=(0, 1), pad_edge=False)
    for column in shown:
        made.add_column(column.heading, justify="right" if column.numeric else "left", no_wrap=column.numeric)
    timed = sorted(members, key=lambda one: (one.latency is None, one.latency or (0,), one.params or 0))
    fastest = timed[0].latency
    for one in timed[:ROWS]:
        factor = one.latency.median / fastest.median if one.latency and fastest else None
        made.add_row(*(Text(_plain(column.text(one, factor))) for column in shown))
    return made


def _plain(text: str) -> str:
    """The text on one line, without characters that a terminal would act on."""
    return "".join(char if char.isprintable() else "�" for char in text)
