"""Hands jobs out to the workers of many hosts and gives each back with its one record, whatever becomes of the hosts.

1. A round is taken from the sweep when fewer pieces wait than workers; trials wait for hosts that nothing timed wants.
2. A worker that is lost, silent or stuck has its jobs issued again; what was running goes alone, so that a case which
   takes its hosts down is told from those beside it, and is a failed record after the third.
3. Where a host is idle and a piece is late, it is issued a second time; the first record of a job stands.
4. What no host can take is a record at once.

Nothing is stored here: records are yielded to the one who writes, so that a driver that dies is resumed by a sweep.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

from convbench.core.errors import CaseFailed, ConvbenchError, Unavailable
from convbench.core.package import __version__
from convbench.core.record import Record
from convbench.core.traits import builds
from convbench.measure import harness
from convbench.runs.cluster import pieces
from convbench.runs.cluster.clocks import noted
from convbench.runs.cluster.engine import (
    Absent,
    Beat,
    Began,
    Done,
    Ended,
    Engine,
    Event,
    Joined,
    Limits,
    Lost,
    Member,
    Piece,
)
from convbench.runs.cluster.hosts import Groups, placed
from convbench.runs.cluster.intake import Intake
from convbench.runs.cluster.ledger import Ledger, total
from convbench.runs.executor import Host, Job, Visit

log = logging.getLogger("convbench")
BEYOND = 60.0
"""Seconds that a job may take beyond one and a half of its time limit before its worker is taken for stuck."""
WAIT = 1.0
"""Seconds between two looks at what is late."""


@dataclass
class Waiting:
    """A piece that nobody has yet: tickets, what it should take, and the worker that has its compiled code."""

    tickets: list[int]
    seconds: float
    timed: bool
    prefers: str = ""


class Driver:
    """One for a run; ``close`` ends everything that the engine started. ``clock`` is in seconds and never goes back."""

    def __init__(self, engine: Engine, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine, self.limits, self.clock = engine, limits or Limits(), clock
        self.members: dict[str, Member] = {}
        self.groups = Groups()
        self.ledger = Ledger()
        self.waiting: list[Waiting] = []
        self._numbers = count()
        self._intake = Intake(())
        self._compiled: dict[str, str] = {}
        self._alone_since: float | None = None

    # --- Hosts --------------------------------------------------------------------------------------------------------

    @property
    def hosts(self) -> Sequence[Host]:
        """Those that joined, the one that stands for the run first. Waits for the first. Raises ConvbenchError."""
        if not self.groups.hosts:
            self._gather()
        return self.groups.hosts

    def _gather(self) -> None:
        """Wait for the workers that will come, or for those that came without others for a while."""
        expected, began = self.engine.start(), self.clock()
        latest, reasons = began, []
        while len(self.members) < expected:
            for event in self.engine.events(WAIT):
                latest = self.clock() if isinstance(event, Joined) else latest
                reasons += [event.reason] if isinstance(event, Lost | Absent) else []
                expected -= isinstance(event, Absent)
                list(self._happened(event))
            now = self.clock()
            if (self.members and now - latest > self.limits.settle) or now - began > self.limits.start:
                break
        if not self.members:
            why = f": {reasons[-1]}" if reasons else ": is the cluster full, or its queue long? (option start)"
            raise ConvbenchError(f"no host gave a worker within {self.clock() - began:.0f} s{why}")
        self.groups.settle([member.host for member in self.members.values()])

    # --- The loop -----------------------------------------------------------------------------------------------------

    def run(self, jobs: Iterable[Job]) -> Iterator[Visit]:
        """Each job with its record, as they end."""
        _, self._intake = self.hosts, Intake(jobs)
        while True:
            yield from self._take()
            self._assign()
            if self._intake.ended and not self.ledger.open:
                return
            for event in self.engine.events(WAIT):
                yield from self._happened(event)
            yield from self._overdue()

    def _take(self) -> Iterator[Visit]:
        """Rounds, until enough waits for the workers there are."""
        while not self._intake.ended and self._wants_more():
            jobs = list(self._intake.round())
            feasible = []
            for job in jobs:
                reason = self.groups.infeasible(job)
                if reason:
                    yield job, harness.attempt(job.case, lambda _, reason=reason: _raise(Unavailable(reason)))  # type: ignore[misc]
                elif not job.host or self._named(job.host):
                    feasible.append(job)
            self.groups.place([job for job in feasible if placed(job)], self.ledger.expected)
            for members in pieces.cut(feasible, max(1, len(self.members)), self.ledger.expected):
                self._queue([self.ledger.enter(job) for job in members])

    def _wants_more(self) -> bool:
        if self._intake.barrier and not self.ledger.ends(self._intake.barrier):
            return False
        return sum(each.timed for each in self.waiting) < max(1, len(self.members))

    def _queue(self, tickets: Sequence[int]) -> None:
        jobs = [self.ledger.open[ticket].job for ticket in tickets]
        homes = [home for job in jobs if (home := self._compiled.get(job.case.id))]
        timed = any(placed(job) for job in jobs)
        prefers = max(homes, key=homes.count) if homes else ""
        self.waiting.append(Waiting(list(tickets), total(self.ledger, jobs), timed, prefers))

    def _assign(self) -> None:
        for member in [member for member in self.members.values() if member.idle]:
            chosen = self._choice(member)
            if chosen is None:
                continue
            self.waiting.remove(chosen)
            self._hand(member, [ticket for ticket in chosen.tickets if ticket in self.ledger.open])

    def _choice(self, member: Member) -> Waiting | None:
        """What a worker does next: timed before trials, what it has compiled code for first, then the longest."""
        able = [each for each in self.waiting if self._ready(each, member)]
        return max(able, key=lambda each: (each.timed, self._preference(each, member), each.seconds), default=None)

    def _preference(self, waiting: Waiting, member: Member) -> int:
        if waiting.prefers == member.worker:
            return 2
        return 0 if waiting.prefers in self.members else 1

    def _ready(self, waiting: Waiting, member: Member) -> bool:
        jobs = (self.ledger.open[ticket].job for ticket in waiting.tickets if ticket in self.ledger.open)
        return all(not self.ledger.waits(job) and self.groups.may(job, member.host) for job in jobs)

    def _hand(self, member: Member, tickets: Sequence[int]) -> None:
        if not tickets:
            return
        for ticket in tickets:
            self.ledger.open[ticket].holders += 1
        jobs = tuple((ticket, self.ledger.open[ticket].job) for ticket in tickets)
        member.piece, member.since, member.heard = Piece(next(self._numbers), jobs), self.clock(), self.clock()
        self.engine.hand(member.worker, member.piece)

    # --- What happens -------------------------------------------------------------------------------------------------

    def _happened(self, event: Event) -> Iterator[Visit]:
        member = self.members.get(getattr(event, "worker", ""))
        if member is not None:
            member.heard = self.clock()
        match event:
            case Joined():
                self._join(event)
            case Absent(host, reason):
                log.warning("convbench: host %s is left out: %s", host, reason)
            case Lost(worker, reason) if member is not None:
                log.warning("convbench: %s was lost (%s); its work is issued again", member.host.name, reason)
                yield from self._lose(worker, reason)
            case Began(_, ticket) if member is not None:
                member.running[ticket] = self.clock()
            case Ended():
                yield from self._end(event, member)
            case Done(_, number, failure) if member is not None and member.piece and member.piece.number == number:
                yield from self._finish(member, failure)
            case Beat() | _:
                return

    def _join(self, event: Joined) -> None:
        if event.version and event.version != __version__:
            log.warning(
                "convbench: %s is left out: it has convbench %s, and this is %s",
                event.host.name, event.version, __version__,
            )  # fmt: skip
            self.engine.drop(event.worker)
            return
        now = self.clock()
        skew = event.clock - time.time() if event.clock else 0.0
        self.members[event.worker] = Member(event.worker, event.host, now, skew, event.machine)
        self.groups.join(event.host)

    def _end(self, event: Ended, member: Member | None) -> Iterator[Visit]:
        """The record of a job, unless another worker was faster."""
        if member is not None:
            member.running.pop(event.ticket, None)
        entry = self.ledger.settle(event.ticket)
        if entry is None:
            return
        self.ledger.learn(entry.job, event.record)
        if builds(entry.job.case):
            self._compiled[entry.job.case.id] = event.worker
        if event.record.status != "ok" and not entry.job.case.trial:
            self._withdraw(entry.job.case.id)
        name, skew = (member.host.name, member.skew) if member else ("", 0.0)
        yield replace(event.job, host=name), noted(event.record, event.job, name, skew)

    def _withdraw(self, case: str) -> None:
        """A case that failed is not visited again, also where a visit to it was taken already and has not begun."""
        begun = {ticket for member in self.members.values() for ticket in member.running}
        for ticket in self.ledger.of_case(case):
            if ticket not in begun and not self.ledger.open[ticket].holders:
                self.ledger.settle(ticket)

    def _finish(self, member: Member, failure: str) -> Iterator[Visit]:
        """A worker is idle again; what it left of its piece is issued again, alone where it gave up."""
        left = self._released(member)
        if failure and left:
            yield from self._blame(left[:1], member.host.name, failure)
        self._again(left, alone=left[:1] if failure else [])

    def _lose(self, worker: str, reason: str) -> Iterator[Visit]:
        """A worker is gone: those of its jobs that were running are suspects."""
        member = self.members.pop(worker)
        self.groups.leave(member.host)
        running = [ticket for ticket in member.running if ticket in self.ledger.open]
        left = self._released(member)
        suspects = running or left[:1]
        yield from self._blame(suspects, member.host.name, reason)
        self._again(left, alone=suspects)

    def _released(self, member: Member) -> list[int]:
        """The open tickets of a worker's piece that no other worker has; the piece is taken from it."""
        tickets = [ticket for ticket, _ in member.piece.jobs] if member.piece else []
        member.piece, member.running = None, {}
        still_open = [ticket for ticket in tickets if ticket in self.ledger.open]
        for ticket in still_open:
            self.ledger.open[ticket].holders -= 1
        return [ticket for ticket in still_open if not self.ledger.open[ticket].holders]

    def _again(self, tickets: Sequence[int], alone: Sequence[int]) -> None:
        kept = [ticket for ticket in tickets if ticket in self.ledger.open]
        for ticket in list(kept):
            job = self.ledger.open[ticket].job
            if job.host and not self._named(job.host):  # what is about a lost host is about nothing now
                self.ledger.settle(ticket)
                kept.remove(ticket)
        for ticket in kept:
            if ticket in alone:
                self._queue([ticket])
        rest = [ticket for ticket in kept if ticket not in alone]
        if rest:
            self._queue(rest)

    def _blame(self, tickets: Sequence[int], host: str, reason: str) -> Iterator[Visit]:
        """Note with which jobs a host was lost; a job that took down its third is a failed record."""
        for ticket in tickets:
            entry = self.ledger.open[ticket]
            entry.deaths.append(host)
            if len(entry.deaths) >= self.limits.deaths:
                self.ledger.settle(ticket)
                words = f"{len(entry.deaths)} workers were lost while they measured it ({', '.join(entry.deaths)}): {reason}"
                yield entry.job, harness.attempt(entry.job.case, lambda _, words=words: _raise(CaseFailed("crash", words)))  # type: ignore[misc]
                self._withdraw(entry.job.case.id)

    # --- What is late -------------------------------------------------------------------------------------------------

    def _overdue(self) -> Iterator[Visit]:
        now = self.clock()
        for member in list(self.members.values()):
            reason = self._gone(member, now)
            if reason:
                log.warning("convbench: %s is given up (%s); its work is issued again", member.host.name, reason)
                self.engine.drop(member.worker)
                yield from self._lose(member.worker, reason)
        yield from self._bereft(now)
        if not self.waiting:
            self._help_the_late(now)

    def _gone(self, member: Member, now: float) -> str:
        """Why a worker is taken for lost; empty where it is not."""
        if member.piece and now - member.heard > self.limits.silence:
            return f"nothing was heard of it for {now - member.heard:.0f} s"
        for ticket, since in member.running.items():
            entry = self.ledger.open.get(ticket)
            if entry and now - since > 1.5 * entry.job.protocol.timeout + BEYOND:
                return f"it is stuck in {entry.job.case.id}"
        return ""

    def _bereft(self, now: float) -> Iterator[Visit]:
        """What no host that is left can take fails, once replacements had time to come."""
        lacking = [ticket for ticket, entry in self.ledger.open.items() if not self.groups.able(entry.job)]
        if not lacking and self.members:
            self._alone_since = None
            return
        self._alone_since = now if self._alone_since is None else self._alone_since
        if now - self._alone_since < self.limits.start:
            return
        if not self.members:
            raise ConvbenchError(
                f"every host was lost, and none came back within {self.limits.start:.0f} s: what is finished is kept, "
                "add --resume to go on"
            )
        for ticket in lacking:
            entry = self.ledger.settle(ticket)
            if entry:
                reason = "no host of the kind that measured its model is left"
                yield entry.job, harness.attempt(entry.job.case, lambda _: _raise(Unavailable(reason)))
        self._purge()

    def _purge(self) -> None:
        self.waiting = [each for each in self.waiting if any(ticket in self.ledger.open for ticket in each.tickets)]

    def _help_the_late(self, now: float) -> None:
        """Issue what late workers have left to the idle ones as well; what is about a late host is left out."""
        late = [member for member in self.members.values() if self._lateness(member, now) > 0]
        for member in late:
            for ticket, job in member.piece.jobs if member.piece else ():
                if job.host:
                    self.ledger.settle(ticket)
        for idle in [member for member in self.members.values() if member.idle]:
            helped = [member for member in late if self._left_of(member, idle)]
            if helped:
                self._hand(idle, self._left_of(max(helped, key=lambda member: self._lateness(member, now)), idle))

    def _lateness(self, member: Member, now: float) -> float:
        """Seconds by which a worker's piece takes longer than it may."""
        if member.piece is None:
            return 0.0
        seconds = total(self.ledger, (job for _, job in member.piece.jobs))
        return max(0.0, now - member.since - max(self.limits.patience, self.limits.late * seconds))

    def _left_of(self, member: Member, idle: Member) -> list[int]:
        """What only this worker has to do yet and the idle one could do."""
        tickets = [ticket for ticket, _ in member.piece.jobs] if member.piece else []
        entries = [(ticket, self.ledger.open[ticket]) for ticket in tickets if ticket in self.ledger.open]
        return [ticket for ticket, entry in entries if entry.holders == 1 and self.groups.may(entry.job, idle.host)]

    def _named(self, host: str) -> bool:
        return any(member.host.name == host for member in self.members.values())

    def close(self) -> None:
        """Cancel what runs."""
        self.engine.close()


def _raise(error: Exception) -> Record:
    raise error
