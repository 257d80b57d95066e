"""The server of the cases, started before their suite is read, so that it imports while the command does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from convbench.core import imports
from convbench.core.case import EAGER
from convbench.runs import user_code
from convbench.runs.process.processes import Processes

COMPILER, DIGITS = "convbench.runs.process.compiler_imports", "sklearn.datasets"
"""Modules that each compiled case, and each case that trains, would otherwise import for itself."""
COMPILES, TRAINS = re.compile("compile|inductor"), re.compile("quality")
_servers: list[Processes] = []


@contextmanager
def start(source: str, overrides: Sequence[str], only: Sequence[str] = ()) -> Iterator[Processes]:
    """Start the server with the modules that the suite's text suggests. It ends here unless ``take`` hands it over.

    The compiler is left out if the call asks for eager cases alone.
    """
    imports.add_suite_folder(Path(source))  # before the server starts: it has this path
    words = " ".join((*overrides, *user_code.texts(source, overrides)))
    variants = [text for text in overrides if text.startswith("variant=")] or [*only]
    is_eager = bool(variants) and all(EAGER in text and not COMPILES.search(text) for text in variants)
    asked = {COMPILER: COMPILES.search(words) and not is_eager, DIGITS: TRAINS.search(words)}
    modules = [name for name, is_asked in asked.items() if is_asked]
    processes = Processes(modules)
    _servers.append(processes)
    try:
        processes.warm()
        yield processes
    finally:
        _end()


def take(preload: Sequence[str]) -> Processes:
    """Return the early server if it imports all of these modules, else a new one."""
    if _servers and set(preload) <= set(_servers[0].preload):
        return _servers.pop()
    _end()
    return Processes(preload)


def _end() -> None:
    while _servers:
        _servers.pop().close()
