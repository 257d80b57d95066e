"""What the verbs of the gate share: options, the lock that lets one at a time measure on a machine, and progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.terminal import console
from convbench.core.errors import ConvbenchError
from convbench.core.quantities import duration
from convbench.report.terminal.progress import is_screen

if TYPE_CHECKING:
    from convbench.check.settings import Rule, Settings

Threads = Annotated[int, typer.Option(min=1, help="Threads of both sides; more than one is noisier.")]
Allocator = Annotated[str, typer.Option(help="C allocator of both sides: glibc or glibc-arena.")]
DifferentOutputs = Annotated[
    bool, typer.Option("--different-outputs", help="Time models even if their outputs differ.")
]


def _percentage(text: object) -> float:
    try:
        return float(str(text).removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


Detect = Annotated[
    float, typer.Option(metavar="PERCENT", parser=_percentage, help="The slowdown to detect: 3 takes longer than 5.")
]


def settings_of(threads: int, allocator: str, device: str) -> Settings:
    """Return both sides' settings. Raises ConvbenchError for an allocator that cannot be fixed in every worker."""
    from convbench.check.link import ALLOCATORS
    from convbench.check.settings import Settings
    from convbench.core.registry import did_you_mean

    if allocator not in ALLOCATORS:
        raise ConvbenchError(f"unknown --allocator {allocator!r}{did_you_mean(allocator, ALLOCATORS)}")
    return Settings(threads=threads, allocator=allocator, device=device)


def rule_of(detect: float) -> Rule:
    """Return the rule that detects a slowdown in percent. Raises ConvbenchError for a slowdown that no rule could."""
    from convbench.check.settings import LARGEST, SMALLEST, Rule

    if not 100 * SMALLEST <= detect <= 100 * LARGEST:
        raise ConvbenchError(f"--detect {detect:g}: give a percentage from {100 * SMALLEST:g} to {100 * LARGEST:g}")
    return Rule.detecting(detect / 100)


def seconds_of(budget: str) -> float | None:
    """Return the seconds of ``90s``, ``3m`` or ``1.5h``; None if empty. Raises ConvbenchError for anything else."""
    return duration("--budget", budget) if budget else None


def say_unused(reason: str, options: Mapping[str, object]) -> None:
    """Print which of the given options have no effect, and why."""
    if unused_options := [option for option, value in options.items() if value]:
        print(f"not used, since {reason}: {', '.join(unused_options)}", file=sys.stderr)


@contextmanager
def hold_machine(look: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock that lets one check at a time measure on this machine.

    If another check holds it, ``look`` is called before waiting for it: it raises what is wrong with this one.
    """
    from convbench.core.system import lock

    def announce(pid: str) -> None:
        process = f" (process {pid})" if pid else ""
        print(f"another check measures on this machine{process}: waiting for it", file=sys.stderr)
        look()

    with lock.hold(lock.machine_lock(), announce, lock.OTHER_FOLDER):
        try:
            yield
        finally:
            if sys.stderr.isatty():
                print(file=sys.stderr)


class TerminalAnnouncer:
    """Prints messages on standard error, each after the seconds so far; on a terminal all on the same line."""

    def __init__(self) -> None:
        self.start, self.screen = time.monotonic(), console(wide=False, stderr=True)

    def says(self, message: str) -> None:
        text = f"[{time.monotonic() - self.start:5.0f} s] {message}"
        if not is_screen(self.screen):
            print(text, file=sys.stderr, flush=True)
            return
        from rich.control import Control
        from rich.segment import ControlType
        from rich.text import Text

        line = Text(text)
        line.truncate(self.screen.width - 1, overflow="ellipsis")
        self.screen.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
        self.screen.print(line, end="")
