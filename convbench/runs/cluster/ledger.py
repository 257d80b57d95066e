"""Every job that the driver was handed: who has it, which workers were lost with it, what it should take.

A ticket is settled once, by whoever answers first, so that a job that was issued again leaves one record.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from statistics import fmean

from convbench.core.record import FACTS, Record
from convbench.runs.executor import Job

GUESS = {"trial": 30.0, "facts": 1.0, "timed": 1.0}
"""Seconds of a job of a kind before any was seen; only their ratio matters then."""


@dataclass
class OpenJob:
    """A job that has no record yet: the hosts that were lost while they had it, and how many workers have it now."""

    job: Job
    deaths: list[str] = field(default_factory=list)
    holders: int = 0


class OpenJobs:
    """The open tickets, and what was learned of how long jobs take."""

    def __init__(self) -> None:
        self.jobs: dict[int, OpenJob] = {}
        self._numbers = count()
        self._seconds_by_case: dict[tuple[str, str], float] = {}
        self._seconds_by_kind: defaultdict[str, list[float]] = defaultdict(list)
        self._facts: Counter[str] = Counter()

    def enter(self, job: Job) -> int:
        """A ticket for a job."""
        ticket = next(self._numbers)
        self.jobs[ticket] = OpenJob(job)
        self._facts[job.case.id] += job.visit == FACTS
        return ticket

    def settle(self, ticket: int) -> OpenJob | None:
        """Close a ticket; None where it is closed already."""
        entry = self.jobs.pop(ticket, None)
        if entry is not None:
            self._facts[entry.job.case.id] -= entry.job.visit == FACTS
        return entry

    def waits(self, job: Job) -> bool:
        """Whether a job has to wait until the facts of its case are known."""
        return job.visit != FACTS and self.facts_missing(job.case.id)

    def facts_missing(self, case: str) -> bool:
        """Whether the facts of a case are still to come."""
        return self._facts[case] > 0

    def learn(self, job: Job, record: Record) -> None:
        """Take note of how long a job took."""
        if record.status == "ok":
            self._seconds_by_case[job.case.id, kind(job)] = record.seconds
            self._seconds_by_kind[kind(job)].append(record.seconds)

    def expected_seconds(self, job: Job) -> float:
        """Seconds that a job should take: as the last visit to its case, or as the mean of its kind."""
        seconds = self._seconds_by_case.get((job.case.id, kind(job)))
        return seconds if seconds is not None else self._typical_seconds(kind(job))

    def of_case(self, case: str) -> Iterator[int]:
        """The open tickets of a case."""
        return (ticket for ticket, entry in list(self.jobs.items()) if entry.job.case.id == case)

    def ends(self, barrier: str) -> bool:
        """Whether everything that a barrier waits for has ended."""
        return not any(barrier == "all" or not entry.job.case.trial for entry in self.jobs.values())

    def _typical_seconds(self, kind: str) -> float:
        durations = self._seconds_by_kind[kind]
        return fmean(durations[-200:]) if durations else GUESS[kind]


def kind(job: Job) -> str:
    """What a job is like: ``trial``, ``facts`` or ``timed``."""
    return "trial" if job.case.trial else "facts" if job.visit == FACTS else "timed"


def total(ledger: OpenJobs, jobs: Iterable[Job]) -> float:
    """Seconds that jobs should take together."""
    return sum(map(ledger.expected_seconds, jobs))
