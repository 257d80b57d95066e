"""The pieces that wait for a worker, and the choice of the piece that a worker takes next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from convbench.core.traits import builds
from convbench.runs.cluster import rounds
from convbench.runs.cluster.engine import Member
from convbench.runs.cluster.hosts import Groups, needs_home
from convbench.runs.cluster.open_jobs import OpenJobs
from convbench.runs.executor import Job
from convbench.runs.process.needs import has_own_variant


@dataclass
class WaitingPiece:
    """A piece that no worker has, with its expected seconds.

    ``preferred_worker`` has compiled code of its cases; empty if none has. ``prerequisites`` are the ids of cases whose
    facts must be known first.
    """

    tickets: list[int]
    jobs: list[Job]
    seconds: float
    is_timed: bool
    preferred_worker: str
    prerequisites: tuple[str, ...]


class Backlog:
    """The waiting pieces. ``ledger`` holds every open job, whether it waits or runs."""

    def __init__(self, groups: Groups) -> None:
        self.ledger, self.groups = OpenJobs(), groups
        self.pieces: list[WaitingPiece] = []
        self.withdrawn_cases: set[str] = set()
        self._stranded_tickets: frozenset[int] = frozenset()
        self._worker_by_case: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self.pieces)

    @property
    def timed_count(self) -> int:
        """How many waiting pieces are neither trials nor bound to one host, without those that no host can take."""
        return sum(piece.is_timed and not self._stranded_tickets.issuperset(piece.tickets) for piece in self.pieces)

    def add(self, jobs: Sequence[Job], hosts: int) -> None:
        """Cut a round into pieces for this many hosts and queue them."""
        for members in rounds.cut(jobs, max(1, hosts), self.ledger.expected_seconds):
            self.queue([self.ledger.enter(job) for job in members])

    def queue(self, tickets: Iterable[int]) -> None:
        """Queue these tickets as one piece."""
        tickets = list(tickets)
        jobs = [self.ledger.jobs[ticket].job for ticket in tickets]
        homes = [home for job in jobs if (home := self._worker_by_case.get(job.case.id))]
        favourite = max(homes, key=homes.count) if homes else ""
        prerequisites = tuple(job.case.id for job in jobs if self.ledger.waits(job))
        is_timed = any(map(needs_home, jobs))
        seconds = sum(map(self.ledger.expected_seconds, jobs))
        self.pieces.append(WaitingPiece(tickets, jobs, seconds, is_timed, favourite, prerequisites))

    def next(self, member: Member, workers: Collection[str]) -> list[int]:
        """Return the tickets that a worker takes now; empty if no piece is ready for it.

        Timed pieces come before trials, then pieces whose compiled code the worker has, then the longest.
        """
        candidates = [piece for piece in self.pieces if self._is_ready(piece, member)]
        if not candidates:
            return []
        piece = max(candidates, key=lambda piece: (piece.is_timed, _preference(piece, member, workers), piece.seconds))
        self.pieces.remove(piece)
        self.groups.claim(piece.jobs, member.host)
        return self.ledger.still_open(piece.tickets)

    def note_compiled(self, job: Job, worker: str) -> None:
        """Remember which worker has a case's compiled code, or may have it."""
        if has_own_variant(job.case) or builds(job.case):  # asking a variant of the user's would import it here
            self._worker_by_case[job.case.id] = worker

    def withdraw(self, case: str) -> None:
        """Close the tickets of a failed case, so that it is not visited again, except those that a worker holds."""
        self.withdrawn_cases.add(case)
        for ticket in self.ledger.of_case(case):
            if not self.ledger.jobs[ticket].holders:
                self.ledger.settle(ticket)

    def requeue(self, tickets: Sequence[int], suspects: Collection[int]) -> None:
        """Queue open tickets again: each suspect in a piece of its own, the others in one piece."""
        open_tickets = self.ledger.still_open(tickets)
        for ticket in open_tickets:
            if ticket in suspects:
                self.queue([ticket])
        if other_tickets := [ticket for ticket in open_tickets if ticket not in suspects]:
            self.queue(other_tickets)

    def purge(self) -> None:
        """Drop closed tickets: a job that was given up must not hold back the others in its piece."""
        for piece in self.pieces:
            piece.tickets = self.ledger.still_open(piece.tickets)
            piece.jobs = [self.ledger.jobs[ticket].job for ticket in piece.tickets]
        self.pieces = [piece for piece in self.pieces if piece.tickets]

    def strand(self, tickets: Iterable[int]) -> None:
        """Queue jobs that no host can take now in pieces of their own.

        They must hold back neither the other jobs of their pieces nor further rounds. A piece whose jobs need different
        hosts is cut into single jobs.
        """
        self._stranded_tickets = frozenset(tickets)
        for piece in list(self.pieces):
            open_tickets = self.ledger.still_open(piece.tickets)
            stranded_tickets = [ticket for ticket in open_tickets if ticket in self._stranded_tickets]
            if stranded_tickets and len(stranded_tickets) < len(open_tickets):
                self.pieces.remove(piece)
                self.queue(stranded_tickets)
                self.queue(ticket for ticket in open_tickets if ticket not in self._stranded_tickets)
            elif len(open_tickets) > 1 and not stranded_tickets and not self.groups.can_take(*piece.jobs):
                self.pieces.remove(piece)
                for ticket in open_tickets:
                    self.queue([ticket])

    def _is_ready(self, piece: WaitingPiece, member: Member) -> bool:
        """Whether a worker may take a piece now. All its jobs have one home, so that only the first is asked for it.

        Jobs that name their host were checked for room when they arrived: they cannot wait for another host.
        """
        if any(map(self.ledger.facts_missing, piece.prerequisites)):
            return False
        first_job, *other_jobs = piece.jobs
        further_jobs = () if first_job.host else other_jobs
        return self.groups.may(first_job, member.host) and not any(
            self.groups.lack(job.case, member.host) for job in further_jobs
        )


def _preference(piece: WaitingPiece, member: Member, workers: Collection[str]) -> int:
    if piece.preferred_worker == member.worker:
        return 2
    return 0 if piece.preferred_worker in workers else 1
