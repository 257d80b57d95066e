"""What a user can get wrong, and the exit code each kind of mistake ends with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

FailureKind = Literal["error", "wrong output", "crash", "out of memory", "timeout", "unavailable"]


class ConvbenchError(Exception):
    """A mistake with one message that says what, where and what to do; never shown with a traceback."""

    exit_code = 2


class SuiteError(ConvbenchError):
    """A suite that cannot be run as written: its message lists every mistake, a line each."""


class StoreError(ConvbenchError):
    """A run directory that cannot be read or written."""


class Unavailable(ConvbenchError):
    """Something this machine does not have (an allocator, a device); the case is skipped with this reason."""


class CaseFailed(ConvbenchError):
    """One case has no result; the sweep goes on. ``kind`` says in a word why, ``known`` is what was found before."""

    def __init__(self, kind: FailureKind, message: str, known: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.known = tuple(known)


class Impossible(ConvbenchError):
    """A combination that cannot exist, such as a pooling grid larger than the feature map."""


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
    """Ctrl-C: what is finished is on disk."""

    exit_code = 130


OUT_OF_MEMORY = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What torch's allocator for CPUs says, CUDA itself, where another process has the card, and cuBLAS and cuDNN."""


def is_out_of_memory(error: BaseException) -> bool:
    """Python's own error, torch's, known by its name where torch need not be imported, or one that says so."""
    if isinstance(error, RuntimeError):
        return type(error).__name__ == "OutOfMemoryError" or any(sign in str(error) for sign in OUT_OF_MEMORY)
    return isinstance(error, MemoryError)


def line_of(error: BaseException, place: int = 0) -> str:
    """The first line of an error that holds anything, or the one at ``place``; its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[place] if lines else type(error).__name__


def typed_line(error: BaseException) -> str:
    """The type of an error and its first line: ``ValueError: too large``."""
    return f"{type(error).__name__}: {line_of(error) if str(error).strip() else 'no message'}"
