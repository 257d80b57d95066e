"""The server of the cases, started before their suite is read: the command and it import at the same time."""

from __future__ import annotations

import atexit
import re
from collections.abc import Sequence

from convbench.runs import apart
from convbench.runs.processes import Processes

COMPILER, DIGITS = "convbench.runs.compiler_imports", "sklearn.datasets"
"""What cases that compile, and those that train, would each import for themselves."""
COMPILES, TRAINS = re.compile("compile|inductor"), re.compile("quality")
_waiting: list[Processes] = []


def begin(source: str, overrides: Sequence[str]) -> None:
    """Start it, with what the suite's words make one expect; not where they name code of the user's own.

    Such a suite is read in a process of its own, which needs a room and would end this server with it.
    """
    texts = " ".join(apart.texts(source, overrides))
    if apart.OWN.search(texts):
        return
    words = " ".join((*overrides, texts))
    expected = [name for name, word in ((COMPILER, COMPILES), (DIGITS, TRAINS)) if word.search(words)]
    processes = Processes(expected)
    processes.warm()
    _waiting.append(processes)
    atexit.register(_end)


def take(preload: Sequence[str]) -> Processes:
    """That server where it imports all of this, else a new one."""
    if _waiting and set(preload) <= set(_waiting[0].preload):
        return _waiting.pop()
    _end()
    return Processes(preload)


def _end() -> None:
    while _waiting:
        _waiting.pop().close()
