"""The verbs that compare code: check, and replay for what a check left behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import Device, Only, Overrides, Skip, Source, app
from convbench.cli.terminal import console, print_table
from convbench.core.errors import ConvbenchError
from convbench.core.quantities import duration

if TYPE_CHECKING:
    from convbench.check.gate import Announcer
    from convbench.check.ledger import Ledger
    from convbench.check.link import Settings
    from convbench.check.outcome import Outcome
    from convbench.check.rule import Rule

REPORTS = Path("reports/check")
Threads = Annotated[int, typer.Option(min=1, help="Threads of both sides; more than one is noisier.")]
Allocator = Annotated[str, typer.Option(help="C allocator of both sides: glibc or glibc-arena.")]
Detect = Annotated[float, typer.Option(metavar="PERCENT", help="The slowdown to be seen: 3 takes longer than 5.")]


@app.command()
def check(
    suite: Source,
    overrides: Overrides = None,
    base: Annotated[str, typer.Option(help="What to compare with: a git ref, a wheel or a directory.")] = "",
    baseline: Annotated[Path | None, typer.Option(help="A stored run: its commit is the base.")] = None,
    base_python: Annotated[
        str, typer.Option(help="Another interpreter for base, such as one with another torch.")
    ] = "",
    build: Annotated[str, typer.Option(help="A command that builds base in its tree.")] = "",
    device: Device = "auto",
    only: Only = None,
    skip: Skip = None,
    threads: Threads = 1,
    allocator: Allocator = "glibc",
    detect: Detect = 5.0,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="The most it may take, as in 90s, 3m or 1h: then undecided cases end.")
    ] = "",
    different_outputs: Annotated[bool, typer.Option("--different-outputs", help="Time models that differ.")] = False,
    instructions: Annotated[
        bool, typer.Option("--instructions", help="Count the instructions of a call too: minutes a case by valgrind.")
    ] = False,
    as_json: Annotated[
        Path | None, typer.Option("--json", help="Where to [default: reports/check/SUITE.json].")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Where to write JUnit XML.")] = None,
    summary: Annotated[Path | None, typer.Option(help="Markdown to append to [default: $GITHUB_STEP_SUMMARY].")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a check that was interrupted.")] = False,
) -> None:
    """Measure base and head side by side, now: exit 1 means a confirmed regression and nothing else."""
    from convbench.check.inspection import Request

    settings, limit = settings_of(threads, allocator, device), seconds_of(budget)
    if baseline is not None:
        from convbench.cli.compare import advise, base_of

        base = base or base_of(baseline) or ""
        if not base:
            raise typer.Exit(advise(baseline, suite, overrides or (), device))
    if not (base or base_python):
        raise ConvbenchError("nothing to compare with: give --base (a git ref, a wheel or a directory) or --baseline")
    ledger = _ledger(as_json, suite, resume)
    request = Request(suite, overrides or (), only or (), skip or (), not different_outputs, instructions, ledger)
    with undisturbed(), _kept_when_interrupted(as_json, junit, summary):
        from convbench.check import against_base
        from convbench.check.sides import Base

        side = Base(base or ".", base_python, build)
        outcome = against_base.check(request, side, settings, rule_of(detect), watcher(), limit).outcome
    _keep(outcome, as_json or REPORTS / f"{outcome.suite}.json", junit, summary)
    raise typer.Exit(_show(outcome))


@app.command()
def replay(file: Annotated[Path, typer.Argument(help="The JSON of a check.")]) -> None:
    """Come to the verdicts of a check again, from the timings it stored."""
    from convbench.check import outcome

    raise typer.Exit(_show(outcome.read(file)))


_so_far: list[Outcome] = []
"""What a check of this process has kept: its latest, unfinished outcome."""


def _ledger(as_json: Path | None, suite: str, resume: bool) -> Ledger:
    """Where a check keeps what it has, and what it goes on with. Raises ConvbenchError where there is nothing."""
    from convbench.check import outcome as outcomes
    from convbench.check.ledger import Ledger

    def keep(outcome: Outcome) -> None:
        _so_far[:] = [outcome]
        outcomes.write(outcome, as_json or REPORTS / f"{outcome.suite}.json")

    place = as_json or REPORTS / f"{Path(suite).stem}.json"
    if resume and not place.exists():
        raise ConvbenchError(f"--resume: {place} is not there: name with --json what the interrupted check has written")
    return Ledger(keep, outcomes.read(place) if resume else None)


@contextmanager
def _kept_when_interrupted(as_json: Path | None, junit: Path | None, summary: Path | None) -> Iterator[None]:
    """What a CI system ends at its limit leaves the same files as a whole check."""
    try:
        yield
    except KeyboardInterrupt:
        for outcome in _so_far:
            _keep(outcome, as_json or REPORTS / f"{outcome.suite}.json", junit, summary)
        raise


def settings_of(threads: int, allocator: str, device: str) -> Settings:
    """What both sides share. Raises ConvbenchError for an allocator that cannot be fixed in every worker."""
    from convbench.check.link import ALLOCATORS, Settings
    from convbench.core.registry import did_you_mean

    if allocator not in ALLOCATORS:
        raise ConvbenchError(f"--allocator {allocator!r}{did_you_mean(allocator, ALLOCATORS)}")
    return Settings(threads=threads, allocator=allocator, device=device)


def rule_of(detect: float) -> Rule:
    """The rule that is meant to see a slowdown, in percent. Raises ConvbenchError for one that no rule could."""
    from convbench.check.rule import Rule

    if not 0.5 <= detect <= 50:
        raise ConvbenchError(f"--detect {detect:g}: a percentage from 0.5 to 50")
    return Rule.detecting(detect / 100)


def seconds_of(budget: str) -> float | None:
    """The seconds of ``90s``, ``3m`` or ``1.5h``; None for none. Raises ConvbenchError for anything else."""
    return duration("--budget", budget) if budget else None


@contextmanager
def undisturbed() -> Iterator[None]:
    """One check at a time on this machine."""
    from convbench.core import lock

    def waiting(pid: str) -> None:
        print(f"another check measures on this machine (process {pid}): waiting for it", file=sys.stderr)

    with lock.hold(lock.machine(), waiting):
        try:
            yield
        finally:
            if sys.stderr.isatty():
                print(file=sys.stderr)


class _Lines:
    """A line with the seconds so far for everything that is said, on standard error; on a terminal always the same."""

    def __init__(self) -> None:
        self.start, self.screen = time.monotonic(), console(wide=False, stderr=True)

    def says(self, message: str) -> None:
        text = f"[{time.monotonic() - self.start:5.0f} s] {message}"
        if not self.screen.is_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        from rich.control import Control
        from rich.segment import ControlType
        from rich.text import Text

        line = Text(text)
        line.truncate(self.screen.width - 1, overflow="ellipsis")
        self.screen.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
        self.screen.print(line, end="")


def watcher() -> Announcer:
    """Says on standard error how far the check is."""
    return _Lines()


def _keep(outcome: Outcome, as_json: Path, junit: Path | None, summary: Path | None) -> None:
    from convbench.check import files as ci
    from convbench.check import outcome as outcomes
    from convbench.core import files

    outcomes.write(outcome, as_json)
    if junit:
        files.write(junit, ci.junit(outcome))
    summary_path = summary or (Path(os.environ["GITHUB_STEP_SUMMARY"]) if "GITHUB_STEP_SUMMARY" in os.environ else None)
    if summary_path:
        files.append(summary_path, ci.markdown(outcome))
    print(f"replay with: convbench replay {as_json}", file=sys.stderr)


def _show(outcome: Outcome) -> int:
    """Print the table and what it means; returns the exit code."""
    from convbench.check import words
    from convbench.check.verdict import exit_code

    out, rows = console(), words.rows(outcome)
    print_table(out, words.HEADINGS, [row.cells for row in rows], words.heading(outcome), words=("case", "verdict"))
    details = [f"{row.case}: {detail}" for row in rows for detail in row.details]
    out.print("\n".join([*details, *words.footing(outcome), words.headline(outcome)]), markup=False, highlight=False)
    return exit_code(outcome)
