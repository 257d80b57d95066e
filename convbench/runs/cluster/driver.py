"""Hand jobs to the workers of many hosts and return each with exactly one record, whatever happens to the hosts.

1. A round is taken from the sweep when fewer timed pieces wait than there are workers. Trials go to workers for which
   no timed piece is ready.
2. The jobs of a worker that is lost, silent or stuck are issued again. Those that were running go alone, which tells a
   case that takes its hosts down from the cases beside it. After its third lost worker it gets a failed record.
3. If a host is idle and a piece is late, the piece is issued a second time. The first record of a job counts.
4. If a host lacks what a case needs, such as a compiler or a file, other hosts measure the case. A case that fails with
   an error of its own gets a failed record when a second host, if there is one, fails too.
5. A job that no host can take gets a skipped record at once. A case that only lost hosts could measure gets none: the
   sweep is told, and the run ends with an error after all other cases. Resuming the run tries such cases again.

Nothing is stored here: the sweep writes the records that are yielded, so that it can resume a run whose driver died.
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
from convbench.runs.cluster.engine import Absent, Began, Done, Ended, Engine, Event, Joined, Limits, Lost, Member, Piece
from convbench.runs.cluster.roll import WAIT, Roll, correct_record, log
from convbench.runs.cluster.rounds import Intake
from convbench.runs.executor import Host, Job, JobRecord

MOST_ERRORS = 2
"""Hosts on which a case may fail with an error before that is taken for the case's own fault."""


class Driver:
    """The driver of one run. ``close`` ends what the engine started; ``clock`` returns seconds and never goes back."""

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
        self._reported_lacks: set[tuple[str, str]] = set()
        self.lost: set[str] = set()

    @property
    def hosts(self) -> Sequence[Host]:
        """The hosts that joined, as ``Roll.hosts`` gives them. Raises ConvbenchError if none joins in time."""
        return self.roll.hosts

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        """Yield each job with its record as it ends. Raises ConvbenchError if hosts are lost for good."""
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
        """Cancel everything that runs."""
        self.engine.close()

    # --- Out ----------------------------------------------------------------------------------------------------------

    def _take(self) -> Iterator[JobRecord]:
        """Take rounds until enough pieces wait for the workers. Yield the jobs that no host can measure, as skipped."""
        while not self._intake.has_ended and self._wants_more():
            # cases that failed or were lost after the round was planned are not visited
            jobs = [job for job in self._intake.round() if job.case.id not in self.backlog.withdrawn_cases]
            feasible_jobs = []
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
        """Yield the record of a job, unless another worker was faster."""
        if member is not None:
            member.start_by_ticket.pop(event.ticket, None)
            member.is_fruitful = True
            if self._passes_on(event, member.host):
                return
        entry = self.ledger.settle(event.ticket)
        if entry is None:
            return
        self.ledger.learn(entry.job, event.record)
        self.backlog.note_compiled(entry.job, event.worker)
        if event.record.status != "ok" and not entry.job.case.trial:
            self.backlog.withdraw(entry.job.case.id)
        name, skew = (member.host.name, member.skew) if member else ("", 0.0)
        yield replace(event.job, host=name), correct_record(event.record, event.job, name, skew)

    def _passes_on(self, event: Ended, host: Host) -> bool:
        """Whether other hosts should try a job that failed here; it is queued again when this worker's piece ends."""
        entry, failure = self.ledger.jobs.get(event.ticket), event.record.failure
        if entry is None or failure is None or failure.kind not in ("unavailable", "error"):
            return False
        self.groups.note_lack(entry.job.case, host, failure.message)
        self._is_in_doubt = True
        entry.errors += failure.kind == "error"
        if entry.job.host:  # a visit to an anchor is of no use elsewhere
            self.ledger.settle(event.ticket)
            return True
        passes_on = entry.errors < MOST_ERRORS and self.groups.can_take(entry.job)
        if passes_on and (host.name, failure.message) not in self._reported_lacks:
            self._reported_lacks.add((host.name, failure.message))
            log.warning(
                "convbench: %s cannot measure %s, so another host tries it (%s)",
                host.name,
                entry.job.case.id,
                failure.message,
            )
        return passes_on

    # --- Again --------------------------------------------------------------------------------------------------------

    def _lose(self, worker: str, reason: str, fault: bool = True) -> Iterator[JobRecord]:
        """Issue the jobs of a lost worker again. If a fault ended it, the jobs that were running are suspects.

        Without a fault, they are suspects only if the worker gave no record at all: otherwise a case that takes as long
        as a worker may live would be tried forever.
        """
        member, self._is_in_doubt = self.roll.leave(worker), True
        running_tickets = self.ledger.still_open(member.start_by_ticket)
        tickets = self._release(member)
        suspects = (running_tickets or tickets[:1]) if fault else running_tickets if not member.is_fruitful else []
        yield from self._issue_again(tickets, suspects, member.host.name, reason)

    def _issue_again(
        self, tickets: Sequence[int], suspects: Sequence[int], host: str, reason: str
    ) -> Iterator[JobRecord]:
        """Queue jobs that no worker has any more. A suspect whose third worker is lost gets a failed record."""
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
                self.ledger.settle(ticket)  # a visit to an anchor is of no use once its host is lost
        self.backlog.requeue(tickets, suspects)
        self._is_in_doubt = True

    def _release(self, member: Member) -> list[int]:
        """Take a worker's piece away and return those of its open tickets that no other worker has."""
        open_tickets = self._tickets(member)
        member.piece, member.start_by_ticket = None, {}
        for ticket in open_tickets:
            self.ledger.jobs[ticket].holders -= 1
        return [ticket for ticket in open_tickets if not self.ledger.jobs[ticket].holders]

    def _tickets(self, member: Member) -> list[int]:
        return self.ledger.still_open(ticket for ticket, _ in member.piece.jobs) if member.piece else []

    def _check_members(self) -> Iterator[JobRecord]:
        """Give up silent and stuck workers and help late ones, at most once every ``WAIT`` seconds."""
        if self.clock() - self._last_look < WAIT:
            return
        self._last_look = now = self.clock()  # ending a worker below may take minutes, in which nobody is heard
        for member in list(self.roll.members.values()):
            reason = self.roll.loss_reason(member, self.ledger, now)
            if reason:
                log.warning("convbench: %s is given up (%s); its work is issued again", member.host.name, reason)
                self.engine.drop(member.worker)
                yield from self._lose(member.worker, reason)
        self._give_up_cases()
        if not self.backlog:
            self._help_the_late()

    def _give_up_cases(self) -> None:
        """Give up cases that no remaining host can take, once replacements had time to join or none can.

        Raises ConvbenchError if no host remains.
        """
        if self.roll.members and not self._is_in_doubt:
            return
        tickets = [ticket for ticket, entry in self.ledger.jobs.items() if not self.groups.can_take(entry.job)]
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
        hope = delay if self.engine.awaits_workers else "no others are expected"
        return ConvbenchError(f"{reason}, and {hope}: finished cases are kept; add --resume to go on")

    def _help_the_late(self) -> None:
        """Issue the open jobs of late workers to idle ones as well. Jobs that name a late host are dropped."""
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
        """Return the open tickets that only this worker has and that the idle one may take."""
        entries = [(ticket, self.ledger.jobs[ticket]) for ticket in self._tickets(member)]
        return [ticket for ticket, entry in entries if entry.holders == 1 and self.groups.may(entry.job, helper.host)]
