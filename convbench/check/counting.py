"""Count the instructions of a call on each side, by valgrind or the processor's counters: more facts of a case."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from convbench.check.answers import Inspection, start_workers
from convbench.check.link import SideWorker
from convbench.check.outcome import INSTRUCTIONS, Fact
from convbench.check.pairs import CheckedCase
from convbench.check.settings import Settings
from convbench.check.trees.sides import Side
from convbench.core.errors import BuildFailed, CaseFailed

COUNTING_TIMEOUT = 1800.0
"""Seconds to wait for a count: valgrind takes minutes for a case that otherwise takes seconds."""
SIDES = ("base", "head")


def count_instructions(
    sides: Mapping[str, Side], settings: Settings, folder: Path, inspection: Inspection, deadline: float
) -> None:
    """Add the instructions of a call on both sides to the facts of each case, until the time runs out.

    Both sides count at once.
    """
    for case in inspection.valid:
        try:
            counts = _instructions(sides, case.settings(settings), folder, case, deadline)
        except (BuildFailed, CaseFailed) as error:
            fact = Fact(INSTRUCTIONS, f"not counted ({error})", f"not counted ({error})")
        else:
            fact = Fact(f"{INSTRUCTIONS}, by {counts['head']['by']}", *(counts[name]["count"] for name in SIDES))
        inspection.facts[case.id] = (*inspection.facts.get(case.id, ()), fact)


def _instructions(
    sides: Mapping[str, Side], settings: Settings, folder: Path, case: CheckedCase, deadline: float
) -> dict[str, dict[str, Any]]:
    """Return what each side counts. Raises CaseFailed if a side cannot count or the time has run out."""
    with ExitStack() as stack:
        _refuse_after(deadline)
        workers = start_workers(sides, settings, folder, case.variables)
        for worker in workers.values():
            stack.enter_context(worker).send("instructions", **case.arguments)
        return {name: _count(worker, deadline) for name, worker in workers.items()}


def _count(worker: SideWorker, deadline: float) -> dict[str, Any]:
    try:
        return worker.receive(max(1.0, min(COUNTING_TIMEOUT, deadline - time.monotonic())))
    except CaseFailed:
        _refuse_after(deadline)
        raise


def _refuse_after(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise CaseFailed("timeout", "the time ran out")
