"""The interface between the driver and the engine that carries its work to other machines, and their messages.

An engine starts workers, hands them pieces and passes on their messages. It decides nothing: the driver decides which
host measures a job, and which worker or job is late, lost or poisoned. An engine never raises for a lost worker: it
reports ``Lost``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from convbench.core.record import Case, Record
from convbench.runs.executor import Host, Job


@dataclass(frozen=True, slots=True)
class Piece:
    """Jobs that one worker measures one after another, each with the driver's ticket."""

    number: int
    jobs: tuple[tuple[int, Job], ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """A worker is ready on a host.

    ``clock`` is the time on the host's clock, in seconds since the epoch. ``version`` is its convbench's ``build``.
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
    """A job has its record. ``job`` is the job as the worker ran it, with the cores that it had."""

    worker: str
    ticket: int
    job: Job
    record: Record


@dataclass(frozen=True, slots=True)
class Done:
    """A worker has ended a piece. ``failure`` says why if it gave the piece up; else it is empty."""

    worker: str
    piece: int
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Beat:
    """A worker is alive."""

    worker: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker is gone, and its work with it. ``fault`` is whether that work may be the reason."""

    worker: str
    reason: str
    fault: bool = True


@dataclass(frozen=True, slots=True)
class Absent:
    """A host gives no worker although it should, for this reason. The user is told, and nobody waits for it."""

    host: str
    reason: str


Message = Began | Ended | Done | Beat
Event = Joined | Message | Lost | Absent


class Engine(Interface):
    """Carries pieces to workers and messages back."""

    @property
    def awaits_workers(self) -> bool:
        """Whether further workers may still join; if not, the driver waits for none."""

    @property
    def wait_reason(self) -> str:
        """Why workers have not joined yet, in the scheduler's own words; empty if it does not say."""

    def expect(self, cases: Sequence[Case]) -> None:
        """Learn which cases the workers must know; called before ``start``."""

    def start(self) -> int:
        """Ask for workers and return how many will join at most.

        Raises ConvbenchError if none can: no cluster, a partition that does not exist, a missing package.
        """

    def hand(self, worker: str, piece: Piece) -> None:
        """Give a piece to an idle worker."""

    def events(self, seconds: float) -> Iterable[Event]:
        """Return what happened since the last call, late joins included. Waits at most ``seconds`` for something."""

    def drop(self, worker: str) -> None:
        """End a worker that the driver has given up, wherever it is, and start another in its place if possible."""

    def leave_out(self, worker: str) -> None:
        """End a worker that is of no use. It is not replaced, since its replacement would be of no use either."""

    def close(self) -> None:
        """Cancel everything that runs anywhere, and leave nothing behind."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When the driver stops waiting. Times are seconds by the driver's own clock; those of the hosts may be wrong.

    A worker that is silent for ``silence`` is lost. ``start`` is how long the first workers may take to join, and
    replacements if all are lost; after the first, the driver stops waiting when none has joined for ``settle``. A case
    gets a failed record when ``deaths`` workers were lost while measuring it. A piece that takes ``late`` times its
    expected seconds, and at least ``patience``, is issued again to an idle host.
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
