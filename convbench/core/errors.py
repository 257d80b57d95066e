"""The errors that users see, and the exit code that a command ends with for each."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from convbench.core.text import cut

FailureKind = Literal[
    "error", "wrong output", "crash", "out of memory", "timeout", "no GPU", "unavailable", "impossible"
]


class ConvbenchError(Exception):
    """A mistake with one message that says what, where and what to do; never shown with a traceback."""

    exit_code = 2

    def _render_traceback_(self) -> list[str]:
        """Return what IPython and Jupyter show instead of a traceback: the user's lines, then the message."""
        package = f"{Path(__file__).parents[1]}{os.sep}"
        stack = traceback.extract_tb(self.__traceback__)
        frames = takewhile(lambda frame: not frame.filename.startswith(package), stack)
        places = traceback.format_list(list(frames)[1:])  # the first frame is IPython's own
        return [*(place.rstrip() for place in places), f"{type(self).__name__}: {self}"]


class SuiteError(ConvbenchError):
    """A suite that cannot be run as written: its message lists every mistake, a line each."""


class StoreError(ConvbenchError):
    """A run directory that cannot be read or written."""


class NewerFormat(StoreError):
    """A stored file of a newer convbench, which this one cannot read."""

    def __init__(self, place: Path | str, schema_version: int) -> None:
        super().__init__(f"{place}: written by a newer convbench (schema {schema_version}): upgrade")


class Unavailable(ConvbenchError):
    """Something this machine does not have (an allocator, a device); the case is skipped with this reason."""


class CaseFailed(ConvbenchError):
    """One case has no result; the sweep goes on. ``kind`` is the reason in a word, ``results`` those found before."""

    def __init__(self, kind: FailureKind, message: str, results: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.results = tuple(results)


class Impossible(ConvbenchError):
    """A combination that cannot exist, such as a pooling grid larger than the feature map.

    If that shows only when the case is measured, as for a user's own model, the case is skipped with this reason.
    """


class Refused(ConvbenchError):
    """A comparison that would mean nothing, such as milliseconds of another machine."""

    exit_code = 4


class OutOfTime(ConvbenchError):
    """A search whose budget was over before it had an answer."""

    exit_code = 3


class BuildFailed(ConvbenchError):
    """A side of a comparison that cannot be built or imported: no verdict on any case."""

    exit_code = 5


class Interrupted(ConvbenchError):
    """The user pressed Ctrl-C; everything that was finished is on disk."""

    exit_code = 130


FAILED_SCRIPT = "The following operation failed in the TorchScript interpreter."
"""The first line of an error in a scripted module."""
COMPILER_OUTPUT = "Output:"
"""The line before what a compiler printed, in torch's error message."""
OUT_OF_MEMORY = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED", "ALLOCATION_FAILED")
"""Words for missing memory: torch's CPU allocator, CUDA (if another process uses the GPU), cuBLAS and cuDNN 8 and 9."""


LONGEST = 1000
"""Most characters of an error's line: a model may put all values of a tensor into its message."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, by Python's error, torch's (known by name, without importing torch), or the message."""
    if isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime"):
        return type(error).__name__ == "OutOfMemoryError" or any(sign in str(error) for sign in OUT_OF_MEMORY)
    return isinstance(error, MemoryError)


def line_of(error: BaseException, place: int = 0) -> str:
    """Return the first line of an error that has text, or the one at ``place``; its type if no line has any.

    A longer line than ``LONGEST`` is cut.
    """
    return cut(_whole_line_of(error, place), LONGEST)


def _whole_line_of(error: BaseException, place: int) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0] == FAILED_SCRIPT:
        return _cause_in_script(str(error))
    if lines and "compile error" in lines[0] and COMPILER_OUTPUT in lines[:-1]:  # torch's: the command comes first
        output = lines[lines.index(COMPILER_OUTPUT) + 1 :]
        return f"{lines[0]}: {next((line for line in output if 'error' in line), output[0])}"
    return lines[place] if lines else type(error).__name__


def _cause_in_script(message: str) -> str:
    """Return the cause from torch's message, after its own traceback; the failing code if torch gives no cause."""
    *_, cause = ("", *re.findall(r"^(?:[\w.]*(?:Error|Exception): )+(.*)", message, re.MULTILINE))
    *_, code = ("", *re.findall(r"(.*)\n *~+ <--- HERE", message))
    return cause or f"in a scripted module, at {code.strip()}"


def typed_line(error: BaseException) -> str:
    """Return the type of an error and its first line: ``ValueError: too large``."""
    return f"{type(error).__name__}: {line_of(error) if str(error).strip() else 'no message'}"
