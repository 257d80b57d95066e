"""Read suites that name the user's own code in a separate process, under a time limit.

Reading a suite imports the code that it names, to check its options. Whatever a module does then (print, parse
arguments, end the process, hang, start threads), it has no effect here but at most one error message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from convbench import suite as suites
from convbench.core import imports
from convbench.core.errors import CaseFailed, ConvbenchError, SuiteError
from convbench.core.record import Case, Whole
from convbench.runs.process.processes import Processes
from convbench.runs.process.running import ProcessCall
from convbench.runs.process.script import user_imports
from convbench.suite import Suite

T = TypeVar("T")
OWN = re.compile(r"[^\s\"]:\S|\\")
"""Text that may be an import path, even a wrong one; an escape may stand for a part of it. JSON has ``"key":value``."""
COMMENT = re.compile(r"(?<!\S)#[^'\"\n\r\x85\u2028\u2029]*")
"""A comment up to a quotation mark: if the ``#`` stands in quoted text, the suite goes on after that."""
SECONDS = 120.0
"""The time limit, in seconds, for importing the user's modules."""
SECONDS_A_CASE, SECONDS_A_TASK = 0.2, 300.0
"""Seconds more to check each case and task. A task loads the user's clips, for which a training has as long."""


def load(source: str, overrides: Sequence[str] = (), processes: Processes | None = None) -> Suite:
    """Return ``suite.load``, run in a separate process (of ``processes``, if given) if the suite names the user's code.

    Modules beside the suite can then be imported. Raises SuiteError, also for what the user's modules do when they are
    imported.
    """
    imports.add_suite_folder(Path(source))
    if not any(map(OWN.search, texts(source, overrides))):
        return suites.load(source, overrides)
    activity = f"{source}: importing the code that it names"
    args = (source, tuple(overrides))
    call = ProcessCall(suites.load, args, timeout=SECONDS, forks=processes is not None, activity=activity)
    try:
        if processes is not None:
            return processes.run(call)
        with closing(Processes()) as new_processes:
            return new_processes.run(call)
    except CaseFailed as error:
        raise SuiteError(explain(error, activity)) from error


def names_own_code(cases: Sequence[Case]) -> bool:
    """Whether building or running any of the cases runs the user's own code; the colon of ``cuda:1`` names none."""
    return any(isinstance(case.architecture, Whole) or ":" in replace(case, device="").id for case in cases)


def explain(error: CaseFailed, activity: str) -> str:
    """Explain why a process ended without a result during an activity, or return the error that it reported."""
    if error.kind in ("error", "wrong output", "unavailable", "impossible"):
        return str(error)
    return f"{activity} ended without a result: {error}"


class UserCode:
    """Calls functions that may run the user's code, in separate processes if a case or a metric names such code."""

    def __init__(self, cases: Sequence[Case], metrics: Iterable[str] = ()) -> None:
        self.cases = cases
        self.processes = Processes() if names_own_code(cases) or any(":" in name for name in metrics) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.processes:
            self.processes.close()

    def run(
        self, work: Callable[..., T], args: tuple[Any, ...], seconds: float = SECONDS, *, limited_by: str = ""
    ) -> T:
        """Return ``work(*args)``. Raises what it raises, or ConvbenchError if it failed in a separate process."""
        if self.processes is None:
            return work(*args)
        return call_safely(self.processes, work, args, "the user's code", self.cases, seconds, limited_by=limited_by)


def call_safely(
    processes: Processes,
    work: Callable[..., T],
    args: tuple[Any, ...],
    activity: str,
    cases: Sequence[Case],
    seconds: float = SECONDS,
    *,
    limited_by: str = "",
) -> T:
    """Return ``work(*args)``, run in a separate process that imports what the cases need of the user's code.

    The process has ``seconds``, and some more for each case unless a setting limits it (``limited_by``). The user is
    told of the ``activity`` if it takes long. Raises ConvbenchError if it ended without a result.
    """
    try:
        tasks = {case.trial.task for case in cases if case.trial}
        more = 0.0 if limited_by else SECONDS_A_CASE * len(cases) + SECONDS_A_TASK * len(tasks)
        call = ProcessCall(
            work, args, timeout=seconds + more, imports=user_imports(cases), limited_by=limited_by, activity=activity
        )
        return processes.run(call)
    except CaseFailed as error:
        raise ConvbenchError(explain(error, activity)) from error


def texts(source: str, overrides: Sequence[str]) -> Iterator[str]:
    """Yield the values of the overrides, and the suite's text without comments if it can be read."""
    yield from (override.partition("=")[2] for override in overrides)
    with suppress(ConvbenchError):
        path = suites.find(source)
        with suppress(OSError), path.open("rb") as file:
            text = file.read(suites.MAX_BYTES).decode(errors="replace").replace("\0", "")
            yield COMMENT.sub("", text)
