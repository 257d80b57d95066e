"""Report what a measurement does, so that one that is stopped keeps its results and names where it was.

The process of a case reports to the process that waits for it; in any other process nobody listens. A report names the
probe that begins, and holds the results of the probes before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from convbench.core.record import Finding, Reading


@dataclass
class Progress:
    """Where a measurement is: what it is doing, and the results that it found before."""

    doing: str = ""
    known: list[Reading | Finding] = field(default_factory=list)

    @property
    def words(self) -> str:
        return f" in {self.doing}" if self.doing else ""


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Pass all reports of this process to ``listener`` from now on."""
    _listeners[:] = [listener]


def tell(doing: str, results: list[Reading | Finding]) -> None:
    """Report what begins now, and the results found since the last report."""
    for listener in _listeners:
        listener(Progress(doing, results))
