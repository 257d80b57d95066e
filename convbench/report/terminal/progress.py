"""What a person sees while a suite is measured: a bar on a terminal, plain lines where there is none, or nothing."""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from convbench.core.record import Case, Record

STYLES = {"ok": "", "failed": "red", "skipped": "yellow"}


class Silent:
    """Says nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def begins(self, case: Case) -> None:  # noqa: ARG002
        return

    def ended(self, record: Record) -> None:  # noqa: ARG002
        return


class Lines(Silent):
    """A plain numbered line for every case that ended, with the time that is left where that is minutes."""

    def __init__(self, console: Console, done: int, total: int) -> None:
        self.console, self.done, self.total = console, done, total
        self.latest: deque[float] = deque(maxlen=10)

    def ended(self, record: Record) -> None:
        self.done += 1
        self.latest.append(record.seconds)
        self.console.print(
            f"[{self.done}/{self.total}{self.left}] {_line(record)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    @property
    def left(self) -> str:
        """What is left if the rest goes on as the latest cases went."""
        minutes = (self.total - self.done) * fmean(self.latest) / 60
        return f", {minutes:.0f} min left" if minutes >= 1.5 else ""


class Bar(Silent):
    """A bar with the case being measured and the time that is left, the ended cases scrolling by above it."""

    def __init__(self, console: Console, done: int, total: int) -> None:
        from rich import progress
        from rich.progress import TextColumn

        self.bar = progress.Progress(
            progress.BarColumn(bar_width=20),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            TextColumn("left"),
            progress.TimeRemainingColumn(),
            TextColumn("{task.fields[case]}", markup=False),
            console=console,
            transient=True,
            speed_estimate_period=300,
        )
        self.task = self.bar.add_task("", completed=done, total=total, case="")

    def __enter__(self) -> Bar:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def begins(self, case: Case) -> None:
        self.bar.update(self.task, case=case.id)

    def ended(self, record: Record) -> None:
        self.bar.console.print(
            _line(record), style=STYLES[record.status], markup=False, highlight=False, soft_wrap=True
        )
        self.bar.advance(self.task)


def watcher(console: Console, quiet: bool, done: int, total: int) -> Silent:
    """The watcher that fits where the output goes."""
    if quiet:
        return Silent()
    return Bar(console, done, total) if console.is_terminal else Lines(console, done, total)


def _line(record: Record) -> str:
    from convbench.report.terminal import table

    return table.line(record)
