"""How a command ends: its exit code by construction, and the signals that end it as Ctrl-C does.

Exit 1 is a confirmed regression and nothing else: only a verb's own verdict can give it. Whatever nobody foresaw, an
exception or an ``exit`` from anywhere, is ``INTERNAL``.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from convbench.core import installed
from convbench.core.code import place_of
from convbench.core.errors import ConvbenchError, Interrupted
from convbench.core.text import cut

INTERNAL = 70
"""What ``sysexits.h`` calls an internal software error."""
UNWRITTEN = 74
"""An input or output error, by the same list: the answer was printed to where it cannot be."""
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
PATIENCE = 3.0
"""Seconds in which a second signal does not interrupt the cleaning up after the first."""

_OF_TYPER: Any = typer.BadParameter.__mro__[2]
"""Every mistake in how a command is written; typer brings its own copy of click and does not name this class."""


class Terminated(KeyboardInterrupt):
    """A signal that asks the command to end: everything cleans up as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


@contextmanager
def signals() -> Iterator[list[int]]:
    """What asks the command to end raises ``Terminated`` and is put into the list.

    One that the parent has chosen to ignore (nohup) stays so; a second one does not interrupt the cleaning up.
    """
    numbers: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield numbers
        return
    last_time = -math.inf

    def interrupt(number: int, _: object) -> None:
        nonlocal last_time
        if time.monotonic() - last_time > PATIENCE:
            last_time = time.monotonic()
            numbers.append(number)
            raise Terminated(number)

    handlers = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in handlers.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)
    try:
        yield numbers
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def code_of(command: Callable[[], Any]) -> int:
    """The exit code of a command that returns one, having said why where it raises.

    After a signal it is the signal's, as a shell has it: 128 and its number.
    """
    numbers: list[int] = []
    try:
        with signals() as numbers:
            result = command()
        code = result if isinstance(result, int) else 0
        return _report("interrupted", 128 + numbers[0]) if numbers and code == Interrupted.exit_code else code
    except ConvbenchError as error:
        return _report(str(error), 128 + numbers[0] if numbers else error.exit_code)
    except _OF_TYPER as error:
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _report("interrupted", 128 + numbers[0] if numbers else Interrupted.exit_code)
    except BaseException as error:
        if reason := _path_problem(error):
            return _report(reason, ConvbenchError.exit_code)
        traceback.print_exc()
        return _report(_remedy(error), INTERNAL)


def _remedy(error: BaseException) -> str:
    """Where to go with what nobody foresaw: to the user's code, or a package with plug-ins, where that led to it."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    packages = filter(None, map(installed.brought_by, modules))
    if place := place_of(error):
        return f"the error above came from your {place}: mend it there, or report it where the fault is convbench's"
    if package := next(packages, ""):
        return f"the error above came from {package}: report it there, or where the fault is convbench's"
    return "this is a fault of convbench: please report it with the lines above"


def _path_problem(error: BaseException) -> str:
    """A sentence where the user named what can be no path on any disk, which every question about it raises."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{cut(os.fsdecode(error.filename or 'a path'), 80)}: {error.strerror}"
    return "a path holds a null character" if isinstance(error, ValueError) and "null byte" in str(error) else ""


def _report(message: str, code: int) -> int:
    print(f"convbench: {message}", file=sys.stderr)
    return code
