"""How a command ends: its exit code, and the signals that end it as Ctrl-C does.

Exit 1 is a confirmed regression and nothing else: only a verb's own verdict can return it. Anything unforeseen, be it
an exception or an ``exit`` from anywhere but Typer, ends with ``INTERNAL``.
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
from convbench.core.code import missing_module, modules_of, place_of
from convbench.core.errors import ConvbenchError, Interrupted, typed_line
from convbench.core.text import cut

INTERNAL = 70
"""An internal software error, as ``sysexits.h`` has it."""
UNWRITTEN = 74
"""An input or output error, by the same list: the answer could not be written to standard output."""
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
NO_MEMORY, NO_FILES = "end other programs, or raise the limit (ulimit -v)", "raise the limit of open files (ulimit -n)"
NO_SPACE = "make room there, or choose another place"
LIMITS = {
    errno.ENOMEM: NO_MEMORY, errno.EMFILE: NO_FILES, errno.ENFILE: NO_FILES, errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: NO_SPACE, errno.EROFS: "choose another place", errno.EIO: "a disk or its connection fails",
}  # fmt: skip
"""What to do about an error of the machine, which anything may meet at any place."""
PATIENCE = 3.0
"""Seconds in which a second signal does not interrupt the clean-up after the first."""

_OF_TYPER: Any = typer.BadParameter.__mro__[2]
"""The base class of all mistakes on the command line. Typer has its own copy of click and does not export it."""


class Terminated(KeyboardInterrupt):
    """A signal that asks the command to end: everything cleans up as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)


@contextmanager
def signals() -> Iterator[list[int]]:
    """Let signals that ask the command to end raise ``Terminated``, and yield the list of their numbers.

    A signal that the parent process ignores (nohup) stays ignored. A second signal does not interrupt the clean-up.
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

    # Python can set a handler that C installed neither again nor aside: it is left alone.
    handlers = {number: handler for number in ENDING if (handler := signal.getsignal(number)) is not None}
    for number, handler in handlers.items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)
    try:
        yield numbers
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def code_of(command: Callable[[], Any]) -> int:
    """Run a command and return its exit code, after printing the reason if it raises.

    After a signal the exit code is 128 plus the signal's number, as in a shell.
    """
    numbers: list[int] = []
    try:
        with signals() as numbers:
            result = command()
        code = result if isinstance(result, int) and result is not True else 0  # True is no verdict, though it is 1
        return _report("interrupted", 128 + numbers[0]) if numbers and code == Interrupted.exit_code else code
    except ConvbenchError as error:
        return _report(str(error), 128 + numbers[0] if numbers else error.exit_code)
    except _OF_TYPER as error:
        if details := getattr(error.__cause__, "errors", None):  # Typer shows pydantic's words, without the value
            from convbench.suite.mistakes import message_of  # here, because importing it takes half a second

            error.message = message_of(details()[0])
        error.show()
        return int(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _report("interrupted", 128 + numbers[0] if numbers else Interrupted.exit_code)
    except BaseException as error:
        if isinstance(error, SystemExit) and modules_of(error)[-1].startswith("typer."):  # completion for a shell
            return int(error.code or 0)
        if numbers:  # Ctrl-C in an import or an extension may come back as any error, such as numpy's ImportError
            return _report(f"interrupted ({typed_line(error)})", 128 + numbers[0])
        # The limits first: without memory, the rest would raise again, and Python would end with 1, a regression.
        if reason := _reached_limit(error) or _path_problem(error) or missing_module(error):
            return _report(reason, ConvbenchError.exit_code)
        traceback.print_exc()
        return _report(_remedy(error), INTERNAL)


def _remedy(error: BaseException) -> str:
    """Say where to report an unforeseen error: in the user's code or a plug-in package if that raised it."""
    packages = filter(None, map(installed.brought_by, modules_of(error)))
    if place := place_of(error):
        return f"the error above came from your {place}: fix it there, or report it if convbench is at fault"
    if package := next(packages, ""):
        return f"the error above came from {package}: report it there, or to convbench if that is at fault"
    return "this is a bug in convbench: please report it with the lines above"


def _reached_limit(error: BaseException) -> str:
    """Say what of the machine is used up or fails, and what to do; empty for other errors."""
    if isinstance(error, MemoryError):
        return f"no memory is left for this process: {NO_MEMORY}"
    if not isinstance(error, OSError) or error.errno not in LIMITS:
        return ""
    place = f"{cut(os.fsdecode(error.filename), 80)}: " if isinstance(error.filename, str | bytes) else ""
    return f"{place}{error.strerror}: {LIMITS[error.errno]}"


def _path_problem(error: BaseException) -> str:
    """Explain an error for a text that cannot be a path on any disk; empty for other errors."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{cut(os.fsdecode(error.filename or 'a path'), 80)}: {error.strerror}"
    return "a path contains a null character" if isinstance(error, ValueError) and "null byte" in str(error) else ""


def _report(message: str, code: int) -> int:
    print(f"convbench: {message}", file=sys.stderr)
    return code
