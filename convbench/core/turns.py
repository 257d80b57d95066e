"""One measurement at a time in a process: its threads wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_turn = RLock()


def in_turn(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: of all functions that have it one runs at a time; those that it calls itself run within its turn.

    Side by side they would time each other, and what they set for a while holds for the whole process: hooks of
    modules, the number of threads, where the script is, torch's profiler, of which two at once crash.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with _turn:
            return function(*args, **kwargs)

    return wrapper
