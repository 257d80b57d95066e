"""Hands jobs out to the workers of many hosts and gives each back with its one record, whatever becomes of the hosts.

1. A round is taken from the sweep when fewer pieces wait than workers; trials wait for hosts that nothing timed wants.
2. A worker that is lost, silent or stuck has its jobs issued again; what was running goes alone, so that a case which
   takes its hosts down is told from those beside it, and is a failed record after the third.
3. Where a host is idle and a piece is late, it is issued a second time; the first record of a job stands.
4. What no host can take is a failed record at once. What only lost hosts could take has none: the sweep is told, and a
   run that has done all else says so; another goes on with it.

Nothing is stored here: records are yielded to the one who writes, so that a driver that dies is resumed by a sweep.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from convbench.core.errors import CaseFailed, ConvbenchError, Unavailable
from convbench.measure import attempts
from convbench.runs.cluster.backlog import Backlog
from convbench.runs.cluster.clocks import correct_record
from convbench.runs.cluster.engine import Absent, Began, Done, Ended, Engine, Event, Joined, Limits, Lost, Member, Piece
from convbench.runs.cluster.intake import Intake
from convbench.runs.cluster.roll import WAIT, Roll, log
from convbench.runs.executor import Host, Job, JobRecord


class Driver:
    """One for a run; ``close`` ends everything that the engine started. ``clock`` is in seconds and never goes back."""

    def __init__(self, engine: Engine, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine, self.limits, self.clock = engine, limits, clock
        self.roll = Roll(engine, self.limits, clock)
        self.groups = self.roll.groups
        self.backlog = Backlog(self.groups)
        self.ledger = self.backlog.ledger
        self._numbers = count()
        self._intake = Intake(())
        self._bereft_start: float | None = None
        self._is_in_doubt = True
        self._last_look = -math.inf
        self.lost: set[str] = set()

    @property
    def hosts(self) -> Sequence[Host]:
        """Those that joined, the one that stands for the run first. Waits for the first. Raises ConvbenchError."""
        return self.roll.hosts

    @property
    def has_begun(self) -> bool:
        """Whether a worker has come."""
        return bool(self.groups.hosts)

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        """Each job with its record, as they end. Raises ConvbenchError where hosts are lost for good."""
        _, self._intake = self.hosts, Intake(jobs)
        while True:
            self.backlog.purge()
            yield from self._take()
            for member in self.roll.idle_members:
                self._hand(member, self.backlog.next(member, self.roll.members))
            if self._intake.has_ended and not self.ledger.jobs:
                break
            for event in self.engine.events(WAIT):
                yield from self._handle(event)
            yield from self._check_members()
        if self.lost:
            raise self._loss(f"the hosts that could measure {len(self.lost)} of the cases were lost")

    def close(self) -> None:
        """Cancel what runs."""
        self.engine.close()

    # --- Out ----------------------------------------------------------------------------------------------------------

    def _take(self) -> Iterator[JobRecord]:
        """Rounds, until enough waits for the workers there are."""
        while not self._intake.has_ended and self._wants_more():
            jobs, feasible_jobs = self._next_round(), []
            self.groups.place(jobs, self.ledger.expected_seconds)
            for job in jobs:
                reason = self.groups.infeasibility(job)
                if reason:
                    self.backlog.withdraw(job.case.id)
                    yield job, attempts.failed_record(job.case, Unavailable(reason))
                elif not job.host or self.groups.has_room(job):
                    feasible_jobs.append(job)
            self.backlog.add(feasible_jobs, len(self.roll.members))
            self._is_in_doubt = True

    def _next_round(self) -> list[Job]:
        """A round, without the cases that failed or were lost after they had been asked for."""
        return [job for job in self._intake.round() if job.case.id not in self.backlog.withdrawn_cases]

    def _wants_more(self) -> bool:
        if self._intake.barrier and not self.ledger.ends(self._intake.barrier):
            return False
        return self.backlog.timed_count < max(1, len(self.roll.members))

    def _hand(self, member: Member, tickets: Sequence[int]) -> None:
        if not tickets:
            return
        for ticket in tickets:
            self.ledger.jobs[ticket].holders += 1
        jobs = tuple((ticket, self.ledger.jobs[ticket].job) for ticket in tickets)
        member.piece, member.start, member.last_sign = Piece(next(self._numbers), jobs), self.clock(), self.clock()
        self.engine.hand(member.worker, member.piece)

    # --- Back ---------------------------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> Iterator[JobRecord]:
        member = self.roll.members.get(getattr(event, "worker", ""))
        if member is not None:
            member.last_sign = self.clock()
        match event:
            case Joined():
                self.roll.join(event)
            case Absent():
                self.roll.leave_out(event)
            case Lost(worker, reason, fault) if member is not None:
                log.warning("convbench: %s was lost (%s); its work is issued again", member.host.name, reason)
                yield from self._lose(worker, reason, fault)
            case Lost():
                self.roll.miss(event)
            case Began(_, ticket) if member is not None:
                member.start_by_ticket[ticket] = self.clock()
            case Ended():
                yield from self._end(event, member)
            case Done(_, number, failure) if member is not None and member.piece and member.piece.number == number:
                tickets = self._release(member)
                yield from self._issue_again(tickets, tickets[:1] if failure else [], member.host.name, failure)

    def _end(self, event: Ended, member: Member | None) -> Iterator[JobRecord]:
        """The record of a job, unless another worker was faster."""
        if member is not None:
            member.start_by_ticket.pop(event.ticket, None)
            member.is_fruitful = True
        entry = self.ledger.settle(event.ticket)
        if entry is None:
            return
        self.ledger.learn(entry.job, event.record)
        self.backlog.note_compiled(entry.job, event.worker)
        if event.record.status != "ok" and not entry.job.case.trial:
            self.backlog.withdraw(entry.job.case.id)
        name, skew = (member.host.name, member.skew) if member else ("", 0.0)
        yield replace(event.job, host=name), correct_record(event.record, event.job, name, skew)

    # --- Again --------------------------------------------------------------------------------------------------------

    def _lose(self, worker: str, reason: str, fault: bool = True) -> Iterator[JobRecord]:
        """A worker is gone: those of its jobs that were running are suspects, if it was for a fault.

        Without a fault they are if it gave no record: a case that takes as long as a worker may live would be tried for
        ever.
        """
        member, self._is_in_doubt = self.roll.leave(worker), True
        running_tickets = [ticket for ticket in member.start_by_ticket if ticket in self.ledger.jobs]
        tickets = self._release(member)
        suspects = (running_tickets or tickets[:1]) if fault else running_tickets if not member.is_fruitful else []
        yield from self._issue_again(tickets, suspects, member.host.name, reason)

    def _issue_again(
        self, tickets: Sequence[int], suspects: Sequence[int], host: str, reason: str
    ) -> Iterator[JobRecord]:
        """Jobs that nobody has any more wait again. A suspect that took down its third worker is a failed record."""
        for ticket in suspects:
            entry = self.ledger.jobs[ticket]
            entry.deaths.append(host)
            if len(entry.deaths) >= self.limits.deaths:
                self.ledger.settle(ticket)
                names = ", ".join(entry.deaths)
                words = f"{len(entry.deaths)} workers were lost while they measured it ({names}): {reason}"
                yield entry.job, attempts.failed_record(entry.job.case, CaseFailed("crash", words))
                self.backlog.withdraw(entry.job.case.id)
        for ticket, entry in list(self.ledger.jobs.items()):
            if entry.job.host and not self.roll.has_host(entry.job.host):
                self.ledger.settle(ticket)  # what is about a lost host is about nothing now
        self.backlog.requeue(tickets, suspects)

    def _release(self, member: Member) -> list[int]:
        """The open tickets of a worker's piece that no other worker has; the piece is taken from it."""
        tickets = [ticket for ticket, _ in member.piece.jobs] if member.piece else []
        member.piece, member.start_by_ticket = None, {}
        open_tickets = [ticket for ticket in tickets if ticket in self.ledger.jobs]
        for ticket in open_tickets:
            self.ledger.jobs[ticket].holders -= 1
        return [ticket for ticket in open_tickets if not self.ledger.jobs[ticket].holders]

    def _check_members(self) -> Iterator[JobRecord]:
        """What is late, looked at once in a while."""
        if self.clock() - self._last_look < WAIT:
            return
        self._last_look = self.clock()
        for member in list(self.roll.members.values()):
            reason = self.roll.loss_reason(member, self.ledger)
            if reason:
                log.warning("convbench: %s is given up (%s); its work is issued again", member.host.name, reason)
                self.engine.drop(member.worker)
                yield from self._lose(member.worker, reason)
        self._give_up_cases()
        if not self.backlog:
            self._help_the_late()

    def _give_up_cases(self) -> None:
        """Give up the cases that no host that is left can take, once replacements had time to come or none will."""
        if self.roll.members and not self._is_in_doubt:
            return
        tickets = [ticket for ticket, entry in self.ledger.jobs.items() if not self.groups.can_measure(entry.job)]
        if self.roll.members:
            self.backlog.strand(tickets)
        if not tickets and self.roll.members:
            self._bereft_start, self._is_in_doubt = None, False
            return
        self._bereft_start = self.clock() if self._bereft_start is None else self._bereft_start
        if self.engine.awaits_workers and self.clock() - self._bereft_start < self.limits.start:
            return
        if not self.roll.members:
            raise self._loss("every host was lost")
        for ticket in tickets:
            entry = self.ledger.settle(ticket)
            if entry:
                self.lost.add(entry.job.case.id)
                self.backlog.withdraw(entry.job.case.id)

    def _loss(self, reason: str) -> ConvbenchError:
        delay = f"none came back within {self.limits.start:.0f} s"
        hope = delay if self.engine.awaits_workers else "no other is to come"
        return ConvbenchError(f"{reason}, and {hope}: what is finished is kept, add --resume to go on")

    def _help_the_late(self) -> None:
        """Issue what late workers have left to the idle ones as well; what is about a late host is left out."""
        late_members = [member for member in self.roll.members.values() if self.roll.lateness(member, self.ledger) > 0]
        for member in late_members:
            for ticket, job in member.piece.jobs if member.piece else ():
                if job.host:
                    self.ledger.settle(ticket)
        for helper in self.roll.idle_members:
            candidates = [member for member in late_members if self._open_tickets(member, helper)]
            if candidates:
                latest_member = max(candidates, key=lambda member: self.roll.lateness(member, self.ledger))
                self._hand(helper, self._open_tickets(latest_member, helper))

    def _open_tickets(self, member: Member, helper: Member) -> list[int]:
        """What only this worker has to do yet and the idle one could do."""
        tickets = [ticket for ticket, _ in member.piece.jobs] if member.piece else []
        entries = [(ticket, self.ledger.jobs[ticket]) for ticket in tickets if ticket in self.ledger.jobs]
        return [ticket for ticket, entry in entries if entry.holders == 1 and self.groups.may(entry.job, helper.host)]
