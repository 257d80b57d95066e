"""Take turns: a process makes one measurement at a time, and its threads wait for each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from threading import RLock
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_turn = RLock()


def in_turn(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: of all functions that have it, one runs at a time; one that is called by another runs within its turn.

    Side by side they would disturb each other's times. They also change settings of the whole process for a while:
    module hooks, the number of threads, the script's path, torch's profiler (two at once crash).
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with _turn:
            return function(*args, **kwargs)

    return wrapper
