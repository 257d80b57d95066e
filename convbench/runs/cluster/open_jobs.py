"""The driver's open jobs: how many workers have each, which hosts were lost with it, and how long it should take.

A ticket is settled once, by the first answer, so that a job that was issued again leaves one record.
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
"""Expected seconds of a job before any of its kind has ended; only their ratio matters then."""


@dataclass
class OpenJob:
    """A job without a record yet, the hosts that were lost while they had it, and how many workers have it now.

    ``errors`` is how many hosts have failed to measure it.
    """

    job: Job
    deaths: list[str] = field(default_factory=list)
    holders: int = 0
    errors: int = 0


class OpenJobs:
    """The open tickets, and how long earlier jobs took."""

    def __init__(self) -> None:
        self.jobs: dict[int, OpenJob] = {}
        self._numbers = count()
        self._seconds_by_case: dict[tuple[str, str], float] = {}
        self._seconds_by_kind: defaultdict[str, list[float]] = defaultdict(list)
        self._facts: Counter[str] = Counter()

    def enter(self, job: Job) -> int:
        """Open a ticket for a job and return its number."""
        ticket = next(self._numbers)
        self.jobs[ticket] = OpenJob(job)
        self._facts[job.case.id] += job.visit == FACTS
        return ticket

    def settle(self, ticket: int) -> OpenJob | None:
        """Close a ticket and return its job; None if it is closed already."""
        entry = self.jobs.pop(ticket, None)
        if entry is not None:
            self._facts[entry.job.case.id] -= entry.job.visit == FACTS
        return entry

    def waits(self, job: Job) -> bool:
        """Whether a job must wait for the facts of its case."""
        return job.visit != FACTS and self.facts_missing(job.case.id)

    def facts_missing(self, case: str) -> bool:
        """Whether a job for the facts of a case is still open."""
        return self._facts[case] > 0

    def learn(self, job: Job, record: Record) -> None:
        """Remember how long a job took, if it succeeded."""
        if record.status == "ok":
            self._seconds_by_case[job.case.id, kind(job)] = record.seconds
            self._seconds_by_kind[kind(job)].append(record.seconds)

    def expected_seconds(self, job: Job) -> float:
        """Seconds that a job should take: those of the last such visit to its case, else the mean of its kind."""
        seconds = self._seconds_by_case.get((job.case.id, kind(job)))
        return seconds if seconds is not None else self._typical_seconds(kind(job))

    def still_open(self, tickets: Iterable[int]) -> list[int]:
        """Return those of these tickets that are open."""
        return [ticket for ticket in tickets if ticket in self.jobs]

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
    """Return the kind of a job: ``trial``, ``facts`` or ``timed``."""
    return "trial" if job.case.trial else "facts" if job.visit == FACTS else "timed"
