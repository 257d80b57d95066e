"""A simulated cluster: it runs the driver's real code on simulated hosts with a simulated clock."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from convbench.core import metrics
from convbench.core.comparability import fingerprint
from convbench.core.record import FACTS, Case, Reading, Record
from convbench.plugins.executors.fake import invented
from convbench.runs.cluster.engine import Beat, Began, Done, Ended, Event, Joined, Lost, Piece
from convbench.runs.executor import Host, Job

SECONDS_A_BEAT = 3.0


@dataclass
class Machine:
    """A host: when it joins, when and how it goes, how slow it is, and its hardware. Times are in seconds.

    A job of a case in ``deadly`` ends it, and a job of a case in ``stuck`` does not end.
    """

    name: str
    joins: float = 0.0
    dies: float = math.inf
    falls_silent: float = math.inf
    slowness: Callable[[float], float] = lambda _: 1.0
    kind: str = "a"
    device: str = "cpu"
    memory: int = 2**33
    cores: int = 2
    deadly: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()
    returns: float | None = None
    version: str = ""
    preempted: bool = False

    @property
    def host(self) -> Host:
        facts = {"device": self.device, "cpu": f"invented {self.kind}", "cores": self.cores}
        return Host(self.name, facts, fingerprint(facts), self.memory, tuple(range(self.cores)))


@dataclass
class Costs:
    """Seconds of a visit of a job, between visits, and until a piece arrives."""

    of_job: Callable[[Job], float] = lambda _: 1.0
    between: float = 0.0
    arrival: float = 0.0


@dataclass
class Invented:
    """The engine. ``now`` is the clock, ``visits`` lists all visits begun, ``busy`` is the seconds of visits done."""

    machines: list[Machine]
    costs: Costs = field(default_factory=Costs)
    answer: Callable[[Job, Host], Record] = invented
    now: float = 0.0
    visits: list[tuple[str, Job, float]] = field(default_factory=list)
    busy: float = 0.0
    dropped: list[str] = field(default_factory=list)
    awaits_workers: bool = True
    wait_reason: str = ""
    closed: bool = False

    def __post_init__(self) -> None:
        self.alive: dict[str, Machine] = {}
        self._generations: dict[str, int] = {}
        self._queue: list[tuple[float, int, str, Callable[[], Event | None]]] = []
        self._numbers = count()

    def clock(self) -> float:
        return self.now

    def expect(self, cases: Sequence[Case]) -> None: ...

    def start(self) -> int:
        for machine in self.machines:
            self._joins(machine, machine.joins)
        return len(self.machines)

    def hand(self, worker: str, piece: Piece) -> None:
        if worker in self.alive:
            self._work(worker, self.alive[worker], piece)

    def events(self, seconds: float) -> Iterator[Event]:
        until = self.now + seconds
        while self._queue and self._queue[0][0] <= until:
            self.now = max(self.now, self._queue[0][0])
            _, _, worker, what = heapq.heappop(self._queue)
            event = what() if worker in self.alive or not worker else None
            if event is not None:
                yield event
                return
        self.now = until

    def drop(self, worker: str) -> None:
        self.dropped.append(worker)
        machine = self.alive.pop(worker, None)
        if machine is not None and math.isinf(machine.dies) and math.isinf(machine.falls_silent):
            self._joins(machine, self.now + 5.0)

    def leave_out(self, worker: str) -> None:
        self.dropped.append(worker)
        self.alive.pop(worker, None)

    def close(self) -> None:
        self.closed = True

    def _joins(self, machine: Machine, at: float) -> None:
        self._generations[machine.name] = self._generations.get(machine.name, 0) + 1
        worker = f"{machine.name}/{self._generations[machine.name]}"

        def join() -> Event:
            self.alive[worker] = machine
            if math.isfinite(machine.dies):
                self._at(machine.dies, worker, lambda: self._die(worker, machine, "its node went down"))
            return Joined(worker, machine.host, 0.0, machine.version)

        self._at(at, "", join)

    def _die(self, worker: str, machine: Machine, reason: str) -> Event:
        self.alive.pop(worker, None)
        if machine.returns is not None:
            machine.dies = math.inf
            self._joins(machine, self.now + machine.returns)
        return Lost(worker, reason, fault=not machine.preempted)

    def _work(self, worker: str, machine: Machine, piece: Piece) -> None:
        at = self.now + self.costs.arrival
        for ticket, job in piece.jobs:
            if at >= machine.falls_silent:
                return
            self._at(at, worker, lambda ticket=ticket, job=job, at=at: self._begin(worker, machine, ticket, job, at))
            if job.case.id in machine.deadly:
                self._at(at + 0.5, worker, lambda: self._die(worker, machine, "its node went down"))
                return
            seconds = self.costs.of_job(job) * machine.slowness(at)
            if job.case.id in machine.stuck:
                seconds = 1e6
            for beat in range(1, min(int(seconds / SECONDS_A_BEAT) + 1, 400)):
                self._at(at + beat * SECONDS_A_BEAT, worker, lambda: Beat(worker))
            at += seconds
            if at >= machine.falls_silent:
                return
            self._at(
                at,
                worker,
                lambda ticket=ticket, job=job, seconds=seconds: self._end(worker, machine, ticket, job, seconds),
            )
            at += self.costs.between
        self._at(at, worker, lambda: Done(worker, piece.number))

    def _begin(self, worker: str, machine: Machine, ticket: int, job: Job, at: float) -> Event:
        self.visits.append((machine.name, job, at))
        return Began(worker, ticket)

    def _end(self, worker: str, machine: Machine, ticket: int, job: Job, seconds: float) -> Event:
        self.busy += seconds
        record = replace(self.answer(job, machine.host), environment=machine.host.fingerprint, seconds=seconds)
        return Ended(worker, ticket, job, record)

    def _at(self, at: float, worker: str, what: Callable[[], Event | None]) -> None:
        heapq.heappush(self._queue, (at, next(self._numbers), worker, what))


def timed(
    truth: dict[str, float],
    speeds: dict[str, Callable[[float], float]],
    clock: Callable[[], float],
    seed: int = 0,
    spread: float = 0.03,
) -> Callable[[Job, Host], Record]:
    """Return a function that makes records of cases of known seconds, on hosts of known and drifting speeds.

    Each record also has the reference workload's time at that visit.
    """
    chance = random.Random(seed)

    def answer(job: Job, host: Host) -> Record:
        if job.visit == FACTS:
            return Record(job.case, "ok", (Reading(metrics.PARAMS, (1.0,)),))
        speed = speeds[host.name](clock())
        latency = truth[job.case.id] * speed * math.exp(chance.gauss(0, spread))
        reference = 1e-3 * speed * math.exp(chance.gauss(0, 0.01))
        readings = (
            Reading(metrics.LATENCY, (latency,) * 3),
            Reading(metrics.REFERENCE, (reference,) * 3),
            Reading(metrics.RUN_DELAY, (0.0,)),
        )
        return Record(job.case, "ok", readings, conditions={"threads": 1})

    return answer
