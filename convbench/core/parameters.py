"""Check the parameters that callers of the Python API give; each mistake is one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

from convbench.core.errors import ConvbenchError
from convbench.core.text import listed, value_text


def text(name: str, value: object) -> str:
    """Return the value of a parameter that must be a text."""
    if not isinstance(value, str):
        raise ConvbenchError(f"{name}={value_text(value)}: give a text")
    return value


def texts(name: str, value: object) -> tuple[str, ...]:
    """Return the value of a parameter that must be texts; a single text is a list of one."""
    entries = listed(value) if isinstance(value, Iterable) else ()
    if not isinstance(value, Iterable) or not all(isinstance(entry, str) for entry in entries):
        raise ConvbenchError(f"{name}={value_text(value)}: give a text, or a list of texts")
    return entries


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number; True and False, which Python counts as 1 and 0, are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def thread_count(value: object) -> int:
    """Return the number of threads that both sides of a comparison use."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConvbenchError(f"threads={value_text(value)}: give a whole number from 1")
    return value
