"""The lines that a log gets: a number each, and the time that is left where it is minutes."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import records
from rich.console import Console

from convbench.core.visits import Stage
from convbench.report.terminal.progress import Lines, where


def test_a_line_tells_what_is_left_as_the_latest_cases_went() -> None:
    said = StringIO()
    lines = Lines(Console(file=said, width=200), done=0, total=12)
    record = records.record()
    for seconds in (20.0, 40.0, 0.0, 0.0):
        lines.ended(replace(record, seconds=seconds))
    starts = [line.partition("]")[0] for line in said.getvalue().splitlines()]
    assert starts == ["[1/12, 4 min left", "[2/12, 5 min left", "[3/12, 3 min left", "[4/12, 2 min left"]


def test_seconds_are_not_worth_telling() -> None:
    said = StringIO()
    lines = Lines(Console(file=said, width=200), done=3, total=5)
    lines.ended(replace(records.record(), seconds=9.0))
    assert said.getvalue().startswith("[4/5] ")


def test_further_seeds_are_said_and_counted() -> None:
    """A run until sure made [84/6] of them under the word measuring."""
    said = StringIO()
    lines, record = Lines(Console(file=said, width=200), done=5, total=6), records.record()
    for stage in (Stage(0, 1, trainings=1), Stage(0, 1, trainings=2, look=2)):
        for _ in range(stage.trainings):
            lines.begins(record.case, stage)
            lines.ended(replace(record, seconds=1.0))
    starts = [line.partition("]")[0] for line in said.getvalue().splitlines()]
    assert starts == ["1 training", "[6/6", "look 2, not sure yet: 2 more trainings", "[7/8", "[8/8"]
    assert where(Stage(0, 3)) == "round 1 of 3"
