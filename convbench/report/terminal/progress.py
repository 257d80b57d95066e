"""Progress while a suite is measured: a bar on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from convbench.core.case import common_options
from convbench.core.progress import RunState
from convbench.core.text import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from convbench.core.case import Options
    from convbench.core.record import Case, Record

OVER_BUDGET = (
    "the first round takes longer than the budget and is completed anyway, so that every case has a result: "
    "--only and --skip select fewer cases"
)
STYLES = {"ok": "", "failed": "red", "skipped": "yellow"}


def stage_text(state: RunState) -> str:
    """Return the stage of a run in words."""
    hosts = f", on {state.hosts} hosts" if state.hosts > 1 else ""
    if state.trainings:
        if state.look > 1:
            return f"look {state.look}, not sure yet: {counted(state.trainings, 'more training')}{hosts}"
        if state.unplanned:
            return f"{counted(state.trainings, 'more training')}, each at its best learning rate{hosts}"
        return f"{counted(state.trainings, 'training')}{hosts}"
    if state.round < 0:
        return f"building, counting and compiling every case{hosts}"
    if state.round < state.rounds:
        return (f"round {state.round + 1} of {state.rounds}" if state.rounds > 1 else "measuring") + hosts
    return f"again: {counted(len(state.open), 'case')} still undecided or disturbed{hosts}"


def is_first_of_case(record: Record) -> bool:
    """Whether a record is the first of its case to show: its first times, or its failure."""
    return not record.visits or record.status != "ok" or record.visits[-1].round == 0


class RunStage:
    """The current stage of a run: its ``text``, and the ``state`` of its first visit."""

    def __init__(self) -> None:
        self.text, self.state, self.has_warned = "", RunState(0, 1), False

    def enter(self, state: RunState) -> bool:
        """Make the stage of this state the current one. Return whether it is a new one."""
        if self.text == stage_text(state):
            return False
        self.text, self.state = stage_text(state), state
        return True

    def seconds_left(self, visit_count: int, elapsed: float) -> float:
        """Estimate the seconds left, including the rounds that follow, from the visits and ``elapsed`` seconds so far.

        A budget ends trainings and skips later rounds, but cuts no round.
        """
        pace = elapsed / visit_count
        seconds, later_seconds = (self.state.visits - visit_count) * pace, self.state.following * pace
        budget = math.inf if self.state.budget_left is None else max(0.0, self.state.budget_left - elapsed)
        if self.state.trainings:
            return min(seconds, budget)
        return seconds + min(later_seconds, max(0.0, budget - seconds))

    def budget_warning(self, visit_count: int, elapsed: float) -> str:
        """Return once that the first round, at its pace so far, takes longer than the budget; else an empty text."""
        if self.has_warned or self.state.round != 0 or self.state.trainings or self.state.budget_left is None:
            return ""
        self.has_warned = self.state.visits * elapsed / visit_count > self.state.budget_left
        return OVER_BUDGET if self.has_warned else ""


class Silent:
    """A watcher that prints nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def begins(self, case: Case, state: RunState) -> None:  # noqa: ARG002
        return

    def ended(self, record: Record) -> None:  # noqa: ARG002
        return


class Lines(Silent):
    """A watcher that prints a line for every stage, and in the first round one for every case with the time left.

    ``common`` are the ``common_options`` of the cases, ``clock`` returns seconds.
    """

    def __init__(
        self, console: Console, common: Mapping[str, Options], count: int, total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.console, self.common, self.count, self.total, self.clock = console, common, count, total, clock
        self.stage, self.start, self.visit_count = RunStage(), clock(), 0

    def begins(self, case: Case, state: RunState) -> None:  # noqa: ARG002
        if self.stage.enter(state):
            self.start, self.visit_count = self.clock(), 0
            self.total += state.trainings if state.unplanned else 0
            self._print(self.stage.text)

    def ended(self, record: Record) -> None:
        self.visit_count += 1
        if not is_first_of_case(record):
            return
        self.count += 1
        elapsed = self.clock() - self.start
        minutes = self.stage.seconds_left(self.visit_count, elapsed) / 60
        time_left = f", {minutes:.0f} min left" if minutes >= 1.5 else ""
        self._print(f"[{self.count}/{self.total}{time_left}] {_line(record, self.common)}")
        if warning := self.stage.budget_warning(self.visit_count, elapsed):
            self._print(warning)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class Bar(Silent):
    """A bar with the visits made, the stage of the run and the current case; finished cases scroll by above it."""

    def __init__(self, console: Console, common: Mapping[str, Options], count: int, total: int) -> None:
        from rich import progress
        from rich.table import Column

        class Cut(progress.TextColumn):
            """A text on one line, cut with a mark if it is longer than the room that the numbers leave."""

            def render(self, task: progress.Task) -> Text:
                text = super().render(task)
                text.no_wrap, text.overflow = True, "ellipsis"
                return text

        def whole() -> Column:
            return Column(no_wrap=True)

        self.bar = progress.Progress(
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(table_column=whole()),
            progress.TimeElapsedColumn(table_column=whole()),
            progress.TextColumn("left", table_column=whole()),
            progress.TimeRemainingColumn(table_column=whole()),
            Cut("{task.fields[stage]}  {task.fields[case]}", markup=False, table_column=Column()),
            console=console,
            transient=True,
            speed_estimate_period=300,
        )
        self.task = self.bar.add_task("", completed=count, total=total, case="", stage="")
        self.common, self.stage = common, RunStage()

    def __enter__(self) -> Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def begins(self, case: Case, state: RunState) -> None:
        """Show the case; each new stage resets the bar to its own number of visits."""
        name = case.short_id(self.common)
        if self.stage.enter(state):
            self.bar.reset(self.task, total=state.visits, stage=self.stage.text, case=name)
        self.bar.update(self.task, case=name)

    def ended(self, record: Record) -> None:
        if is_first_of_case(record):
            self.bar.console.print(
                _line(record, self.common), style=STYLES[record.status], markup=False, highlight=False, soft_wrap=True
            )
        self.bar.advance(self.task)
        (task,) = self.bar.tasks
        if warning := self.stage.budget_warning(int(task.completed), task.elapsed or 0.0):
            self.bar.console.print(warning, markup=False, highlight=False, soft_wrap=True)


def watcher(console: Console, quiet: bool, cases: Sequence[Case], count: int, total: int) -> Silent:
    """Return the watcher of these cases that suits the output."""
    if quiet:
        return Silent()
    common = common_options(case.architecture for case in cases)
    return (Bar if is_screen(console) else Lines)(console, common, count, total)


def is_screen(console: Console) -> bool:
    """Whether output may be overwritten. ``FORCE_COLOR`` alone is not enough: CI systems set it for their logs, too."""
    return console.is_interactive and (console.is_jupyter or console.file.isatty())


def _line(record: Record, common: Mapping[str, Options]) -> str:
    from convbench.report.terminal.table import line  # slow to import, and not every run prints a line

    return line(record, common)
