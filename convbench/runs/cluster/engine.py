"""The seam between the driver and what carries its work to other machines, and the words they speak.

An engine starts workers, hands them pieces and passes on what they say. It decides nothing: which host measures what,
what is late, lost or poisoned is the driver's. An engine never raises for a worker that is lost: it says ``Lost``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from convbench.core.record import Case, Record
from convbench.runs.executor import Host, Job


@dataclass(frozen=True, slots=True)
class Piece:
    """Jobs that one worker measures one after another, each with the driver's ticket for it."""

    number: int
    jobs: tuple[tuple[int, Job], ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker is ready on a host; ``clock`` is what its clock shows, in seconds since the epoch.

    ``version`` is that of its convbench.
    """

    worker: str
    host: Host
    clock: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class Began:
    """A worker starts a job."""

    worker: str
    ticket: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A job has its record; the job is as it was run there, with the cores it had."""

    worker: str
    ticket: int
    job: Job
    record: Record


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has nothing left to do of a piece. ``failure`` says why, where it gave the piece up."""

    worker: str
    piece: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker lives."""

    worker: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone, with whatever it was doing; ``fault`` is whether that may have been the reason."""

    worker: str
    reason: str
    fault: bool = True


@dataclass(frozen=True, slots=True)
class Absent:
    """A host that should give a worker and does not, with the reason: the user is told, nobody waits for it."""

    host: str
    reason: str


Message = Began | Ended | Done | Beat
Event = Joined | Message | Lost | Absent


class Engine(Interface):
    """Carries pieces to workers and messages back."""

    @property
    def awaits_workers(self) -> bool:
        """Whether further workers may still join: where none may, none is waited for."""

    def expect(self, cases: Sequence[Case]) -> None:
        """Learn which cases its workers must know; called before it starts."""

    def start(self) -> int:
        """Ask for workers, and return how many will come at most.

        Raises ConvbenchError where none can: no cluster, a partition that does not exist, a package that is missing.
        """

    def hand(self, worker: str, piece: Piece) -> None:
        """Give a worker that has nothing to do a piece."""

    def events(self, seconds: float) -> Iterable[Event]:
        """What happened since, workers that joined late included; waits for it, but at most so long."""

    def drop(self, worker: str) -> None:
        """End a worker that the driver has given up, wherever it may be, and start another in its place if it can."""

    def leave_out(self, worker: str) -> None:
        """End a worker that is of no use, without a replacement, which would be of no use either."""

    def close(self) -> None:
        """Cancel whatever runs anywhere, and leave nothing behind."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When the driver stops waiting. Seconds, by the driver's own clock; those of the hosts may be wrong.

    A worker that was silent for ``silence`` is lost. ``start`` is what the first workers may take to join, and
    replacements where all are lost; no further ones are waited for when none came for ``settle``. A case that
    ``deaths`` workers were lost with is a failed record. A piece that takes ``late`` times what it should is issued
    again where a host is idle, but not before ``patience``.
    """

    silence: float = 60.0
    start: float = 300.0
    settle: float = 10.0
    deaths: int = 3
    late: float = 3.0
    patience: float = 20.0


@dataclass
class Member:
    """A worker as the driver knows it."""

    worker: str
    host: Host
    last_sign: float
    skew: float = 0.0
    piece: Piece | None = None
    start: float = 0.0
    start_by_ticket: dict[int, float] = field(default_factory=dict)
    is_fruitful: bool = False
