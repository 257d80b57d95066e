"""What the verbs of the gate share: options, the lock that lets one at a time measure on a machine, and progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from convbench.cli.app import CaseOptions
from convbench.cli.terminal import console
from convbench.core.errors import ConvbenchError
from convbench.core.quantities import duration
from convbench.report.terminal.progress import is_screen

if TYPE_CHECKING:
    from convbench.check.settings import Rule, Settings

DifferentOutputs = Annotated[
    bool, typer.Option("--different-outputs", help="Time models even if their outputs differ.")
]


def _percentage(text: object) -> float:
    try:
        return float(str(text).removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


@dataclass(frozen=True)
class SideOptions(CaseOptions):
    """The options of both sides: also with which threads and allocator, and by which rule."""

    threads: Annotated[int, typer.Option(min=1, help="Threads of both sides; more than one is noisier.")] = 1
    allocator: Annotated[str, typer.Option(help="C allocator of both sides: glibc or glibc-arena.")] = "glibc"
    detect: Annotated[
        float,
        typer.Option(metavar="PERCENT", parser=_percentage, help="The slowdown to detect: 3 takes longer than 5."),
    ] = 5.0

    @property
    def changed(self) -> dict[str, bool]:
        """Whether threads, allocator and slowdown differ from their defaults, by option."""
        default = SideOptions()
        return {
            f"--{name}": getattr(self, name) != getattr(default, name) for name in ("threads", "allocator", "detect")
        }

    def settings(self) -> Settings:
        """Return both sides' settings. Raises ConvbenchError for an allocator that cannot be fixed in every worker."""
        from convbench.check.link import ALLOCATORS
        from convbench.check.settings import Settings
        from convbench.core.registry import did_you_mean

        if self.allocator not in ALLOCATORS:
            raise ConvbenchError(f"unknown --allocator {self.allocator!r}{did_you_mean(self.allocator, ALLOCATORS)}")
        return Settings(threads=self.threads, allocator=self.allocator, device=self.device)

    def rule(self) -> Rule:
        """Return the rule that detects the slowdown. Raises ConvbenchError for a slowdown that no rule could."""
        from convbench.check.settings import LARGEST, SMALLEST, Rule

        if not 100 * SMALLEST <= self.detect <= 100 * LARGEST:
            bounds = f"{100 * SMALLEST:g} to {100 * LARGEST:g}"
            raise ConvbenchError(f"--detect {self.detect:g}: give a percentage from {bounds}")
        return Rule.detecting(self.detect / 100)


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


def announcer() -> Callable[[str], None]:
    """Return what prints messages on standard error, each after the seconds so far; on a terminal all on one line."""
    start, screen = time.monotonic(), console(wide=False, stderr=True)

    def announce(message: str) -> None:
        text = f"[{time.monotonic() - start:5.0f} s] {message}"
        if not is_screen(screen):
            print(text, file=sys.stderr, flush=True)
            return
        from rich.control import Control
        from rich.segment import ControlType
        from rich.text import Text

        line = Text(text)
        line.truncate(screen.width - 1, overflow="ellipsis")
        screen.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
        screen.print(line, end="")

    return announce
