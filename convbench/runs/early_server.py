"""The server of the cases, started before their suite is read: the command and it import at the same time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from convbench.runs import user_code
from convbench.runs.processes import Processes

COMPILER, DIGITS = "convbench.runs.compiler_imports", "sklearn.datasets"
"""What cases that compile, and those that train, would each import for themselves."""
COMPILES, TRAINS = re.compile("compile|inductor"), re.compile("quality")
_servers: list[Processes] = []


@contextmanager
def begun(source: str, overrides: Sequence[str]) -> Iterator[Processes]:
    """Start it, with what the suite's words make one expect; ``take`` hands it to the executor, or it ends here."""
    words = " ".join((*overrides, *user_code.texts(source, overrides)))
    modules = [name for name, word in ((COMPILER, COMPILES), (DIGITS, TRAINS)) if word.search(words)]
    processes = Processes(modules)
    _servers.append(processes)
    try:
        processes.warm()
        yield processes
    finally:
        _end()


def take(preload: Sequence[str]) -> Processes:
    """That server where it imports all of this, else a new one."""
    if _servers and set(preload) <= set(_servers[0].preload):
        return _servers.pop()
    _end()
    return Processes(preload)


def _end() -> None:
    while _servers:
        _servers.pop().close()
