"""What a measurement tells while it goes on, so that one that is ended keeps what it knew and names where it was.

The process of a case sends it to the one that waits; nobody listens in any other. Told are the probe that begins and
what those before it found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from convbench.core.record import Finding, Reading

Result = Reading | Finding


@dataclass
class Progress:
    """Where a measurement is: what it is doing, and all that it has found before."""

    doing: str = ""
    known: list[Result] = field(default_factory=list)

    @property
    def words(self) -> str:
        return f" in {self.doing}" if self.doing else ""


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


def listen(listener: Listener) -> None:
    """Hand over all that this process tells from now on."""
    _listeners[:] = [listener]


def tell(doing: str, results: list[Result]) -> None:
    """Say what begins now, and what has been found since it was last said."""
    for listener in _listeners:
        listener(Progress(doing, results))
