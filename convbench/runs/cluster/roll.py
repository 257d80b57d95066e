"""The roll of workers: which join, which are left out, and which are silent, stuck or late."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from convbench.core.errors import ConvbenchError
from convbench.core.package import build
from convbench.core.record import Record
from convbench.runs.cluster.engine import Absent, Engine, Event, Joined, Limits, Lost, Member
from convbench.runs.cluster.hosts import Groups
from convbench.runs.cluster.open_jobs import OpenJobs
from convbench.runs.executor import Host, Job

log = logging.getLogger("convbench")
BEYOND = 60.0
"""Seconds beyond one and a half times its time limit that a job may take before its worker counts as stuck."""
WAIT = 1.0
"""Seconds to wait for events, and between two checks for late workers."""
SECONDS_OF_SILENCE = 30.0
"""Seconds without a first worker before the user is told that the run waits for one."""
FULL = "is the cluster full, or its queue long?"


class Roll:
    """The members by the names of their workers, and the groups of their hosts."""

    def __init__(self, engine: Engine, limits: Limits, clock: Callable[[], float]) -> None:
        self.engine, self.limits, self.clock = engine, limits, clock
        self.members: dict[str, Member] = {}
        self.groups = Groups()
        self.build = build()  # now: an upgrade while this process runs does not change its code

    @property
    def hosts(self) -> Sequence[Host]:
        """The hosts that joined, first the one that stands for the run. Waits for workers before any has joined.

        Raises ConvbenchError if none joins in time.
        """
        if not self.groups.hosts:
            self._gather()
        return self.groups.hosts

    @property
    def idle_members(self) -> list[Member]:
        return [member for member in self.members.values() if member.piece is None]

    def has_host(self, host: str) -> bool:
        """Whether a host of that name is there."""
        return any(member.host.name == host for member in self.members.values())

    def join(self, event: Joined) -> str:
        """Enter a worker and return an empty text, or why not: another convbench version would make other records."""
        if event.version and event.version != self.build:
            reason = f"it has convbench {event.version}, and this machine has {self.build}: install the same on both"
            self.leave_out(Absent(event.host.name, reason))
            self.engine.leave_out(event.worker)
            return reason
        skew = event.clock - time.time() if event.clock else 0.0
        self.members[event.worker] = Member(event.worker, event.host, self.clock(), skew)
        self.groups.join(event.host)
        return ""

    def leave_out(self, event: Absent) -> None:
        """Warn that a host gives no worker, and why."""
        log.warning("convbench: host %s is left out: %s", event.host, event.reason)

    def miss(self, event: Lost) -> None:
        """Warn that a worker is missing, and why. It may still join, or another in its place."""
        log.warning("convbench: %s is missing: %s", event.worker, event.reason)

    def leave(self, worker: str) -> Member:
        """Take a lost worker off the roll and return it."""
        member = self.members.pop(worker)
        self.groups.leave(member.host)
        return member

    def loss_reason(self, member: Member, ledger: OpenJobs, now: float) -> str:
        """Why a worker counts as lost; empty if it does not. ``now`` is when all messages so far had been read."""
        if member.piece and now - member.last_sign > self.limits.silence:
            return f"nothing was heard from it for {now - member.last_sign:.0f} s"
        for ticket, start in member.start_by_ticket.items():
            entry = ledger.jobs.get(ticket)
            if entry and now - start > 1.5 * entry.job.protocol.timeout + BEYOND:
                return f"it is stuck in {entry.job.case.id}"
        return ""

    def lateness(self, member: Member, ledger: OpenJobs) -> float:
        """Seconds by which a worker's piece takes longer than it may; 0 if it is not late."""
        if member.piece is None:
            return 0.0
        seconds = sum(ledger.expected_seconds(job) for _, job in member.piece.jobs)
        return max(0.0, self.clock() - member.start - max(self.limits.patience, self.limits.late * seconds))

    def _gather(self) -> None:
        """Wait until all workers have joined, or until some have and no other joined for a while.

        Raises ConvbenchError if none joins in time.
        """
        count, start = self.engine.start(), self.clock()
        last_arrival, cause, is_announced = start, "", False
        while len(self.members) < count and self.engine.awaits_workers:
            for event in self.engine.events(WAIT):
                last_arrival = self.clock() if isinstance(event, Joined) else last_arrival
                reason = self._arrival(event)
                count -= bool(reason) and not isinstance(event, Lost)
                cause = reason or cause
            now = self.clock()
            if not (self.members or is_announced) and now - start > SECONDS_OF_SILENCE:
                is_announced = True
                log.warning(
                    "convbench: no worker has joined yet: waiting up to %.0f s for the first (option start); %s",
                    self.limits.start,
                    self.engine.wait_reason or FULL,
                )
            if (self.members and now - last_arrival > self.limits.settle) or now - start > self.limits.start:
                break
        if not self.members:
            cause = cause or f"{self.engine.wait_reason or FULL} The option start sets how long to wait"
            raise ConvbenchError(f"no worker joined within {self.clock() - start:.0f} s: {cause}")
        self.groups.settle([member.host for member in self.members.values()])

    def _arrival(self, event: Event) -> str:
        """Handle an event before there is any work. Return why a worker did not join; empty if one did."""
        match event:
            case Joined():
                return self.join(event)
            case Lost(worker, reason):
                if worker in self.members:
                    self.leave(worker)
                self.miss(event)
                return reason
            case Absent():
                self.leave_out(event)
                return event.reason
        return ""


TOLERANCE = 2.0
"""Seconds by which a host's clock may differ, or its first message be late, before its dates are corrected."""


def correct_record(record: Record, job: Job, host: str, skew: float) -> Record:
    """Return a record dated by the driver's clock; the record of a trial also names the host that ran it.

    ``skew`` is by how many seconds the host's clock is ahead of the driver's.
    """
    if job.case.trial and host:
        record = replace(record, conditions={**record.conditions, "host": host})
    if abs(skew) <= TOLERANCE or not record.started:
        return record
    with suppress(ValueError, OverflowError):
        start = datetime.fromisoformat(record.started) - timedelta(seconds=skew)
        return replace(record, started=start.isoformat(timespec="milliseconds"))
    return record
