"""Test the progress lines in a log: each has a count, and the remaining time if it is minutes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from io import StringIO

import pytest
import records
from rich.cells import cell_len
from rich.console import Console

from convbench.core.progress import RunState
from convbench.report.terminal.progress import OVER_BUDGET, Bar, Lines, stage_text, watcher


def starts_of(seconds: Iterable[float], state: RunState, total: int) -> list[str]:
    """Return the starts of the log's lines for visits that take the given seconds."""
    written, clock, record = StringIO(), [0.0], records.record()
    lines = Lines(Console(file=written, width=200), {}, count=0, total=total, clock=lambda: clock[0])
    for duration in seconds:
        lines.begins(record.case, state)
        clock[0] += duration
        lines.ended(record)
    return [line.partition("]")[0] for line in written.getvalue().splitlines()]


def test_a_line_tells_the_remaining_time_of_the_rounds() -> None:
    """Later trainings, which take other times, do not count. The first of 660 cases said 8 minutes, the fifth 181."""
    starts = starts_of((20.0, 40.0, 0.0, 0.0), RunState(0, 2, visits=12, following=12), total=660)
    assert starts == [
        "round 1 of 2",
        "[1/660, 8 min left",
        "[2/660, 11 min left",
        "[3/660, 7 min left",
        "[4/660, 5 min left",
    ]


def test_parallel_trainings_are_estimated_by_elapsed_time() -> None:
    starts = starts_of((60.0, 0.0, 60.0, 0.0), RunState(0, 1, trainings=8, visits=8), total=8)
    assert starts == ["8 trainings", "[1/8, 7 min left", "[2/8, 3 min left", "[3/8, 3 min left", "[4/8, 2 min left"]


def test_a_budget_limits_the_estimate_of_later_rounds() -> None:
    """``--budget 2m`` used to promise 51 minutes for three rounds, although it makes only one."""
    state = RunState(0, 3, visits=12, following=24, budget_left=120.0)
    assert starts_of((300.0, 300.0, 0.0), state, total=12) == [
        "round 1 of 3",
        "[1/12, 55 min left",
        OVER_BUDGET,
        "[2/12, 50 min left",
        "[3/12, 30 min left",
    ]
    enough = replace(state, budget_left=1000.0)
    assert starts_of((30.0,), enough, total=12) == ["round 1 of 3", "[1/12, 16 min left"]
    trainings = RunState(0, 1, trainings=8, visits=8, budget_left=120.0)
    assert starts_of((20.0,), trainings, total=8) == ["8 trainings", "[1/8, 2 min left"]


def test_a_bar_reports_once_that_round_one_exceeds_the_budget() -> None:
    screen, record = Console(file=StringIO(), width=300, force_terminal=True), records.record()
    with Bar(screen, {}, count=0, total=2) as bar:
        for _ in range(2):
            bar.begins(record.case, RunState(0, 1, visits=2, budget_left=0.0))
            bar.ended(record)
    assert screen.file.getvalue().count("takes longer than the budget") == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_bar_cuts_the_case_and_no_number(width: int) -> None:
    """At 80 columns the bar read "━ … … left -…", so that a long name took the place of every number."""
    screen = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    with Bar(screen, {}, count=7, total=78) as bar:
        bar.begins(records.record().case, RunState(0, 3, visits=78))
        bar.bar.advance(bar.task, 17)
        bar.bar.refresh()
    last = re.split(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", screen.file.getvalue())  # type: ignore[attr-defined]
    (line,) = {line for line in last if "17/78" in line}
    assert cell_len(line) <= width
    assert re.search(r"17/78 0:00:00 left \S:\S\S:\S\S .*round 1", line)
    assert line.rstrip().endswith("/cpu" if width == 200 else "…")


def test_a_remaining_time_of_seconds_is_not_shown() -> None:
    assert starts_of((9.0,), RunState(0, 1, visits=2), total=5) == ["measuring", "[1/5"]


def test_further_seeds_are_announced_and_counted() -> None:
    """A run until sure used to show [84/6] under the word "measuring"."""
    output = StringIO()
    lines, record = Lines(Console(file=output, width=200), {}, count=5, total=6), records.record()
    for state in (RunState(0, 1, trainings=1), RunState(0, 1, trainings=2, look=2, unplanned=True)):
        for _ in range(state.trainings):
            lines.begins(record.case, state)
            lines.ended(replace(record, seconds=1.0))
    starts = [line.partition("]")[0] for line in output.getvalue().splitlines()]
    assert starts == ["1 training", "[6/6", "look 2, not sure yet: 2 more trainings", "[7/8", "[8/8"]
    assert stage_text(RunState(0, 3)) == "round 1 of 3"
    later = RunState(0, 3, trainings=9, unplanned=True)
    assert stage_text(later) == "9 more trainings, each at its best learning rate"


def test_a_log_with_forced_colours_gets_lines_and_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """``FORCE_COLOR`` is set for whole workflows. Their logs used to have a bar per line, and cases without counts."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    log = Console(file=StringIO())
    assert isinstance(watcher(log, False, (), 0, 2), Lines)
    monkeypatch.setattr(log.file, "isatty", lambda: True)
    assert isinstance(watcher(log, False, (), 0, 2), Bar)
