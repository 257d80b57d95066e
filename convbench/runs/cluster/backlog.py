"""What waits for a worker: pieces, and which of them a worker takes next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from convbench.core.traits import builds
from convbench.runs.cluster import pieces
from convbench.runs.cluster.engine import Member
from convbench.runs.cluster.hosts import Groups, needs_home
from convbench.runs.cluster.ledger import OpenJobs, total
from convbench.runs.executor import Job
from convbench.runs.process_needs import has_own_variant


@dataclass
class WaitingPiece:
    """A piece that nobody has: tickets, what it should take, and the worker that has its compiled code.

    ``prerequisites`` are cases whose facts have to be known first.
    """

    tickets: list[int]
    jobs: list[Job]
    seconds: float
    is_timed: bool
    preferred_worker: str
    prerequisites: tuple[str, ...]


class Backlog:
    """The pieces that wait. ``ledger`` holds every open job, waiting or not."""

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
        """How many pieces that need a quiet host wait, of those that some host can take."""
        return sum(piece.is_timed and not self._stranded_tickets.issuperset(piece.tickets) for piece in self.pieces)

    def add(self, jobs: Sequence[Job], hosts: int) -> None:
        """A round, cut for so many hosts."""
        for members in pieces.cut(jobs, max(1, hosts), self.ledger.expected_seconds):
            self.queue([self.ledger.enter(job) for job in members])

    def queue(self, tickets: Iterable[int]) -> None:
        """A piece of these tickets."""
        tickets = list(tickets)
        jobs = [self.ledger.jobs[ticket].job for ticket in tickets]
        homes = [home for job in jobs if (home := self._worker_by_case.get(job.case.id))]
        favourite = max(homes, key=homes.count) if homes else ""
        prerequisites = tuple(job.case.id for job in jobs if self.ledger.waits(job))
        is_timed = any(map(needs_home, jobs))
        self.pieces.append(WaitingPiece(tickets, jobs, total(self.ledger, jobs), is_timed, favourite, prerequisites))

    def next(self, member: Member, workers: Collection[str]) -> list[int]:
        """The tickets that a worker takes now; empty where nothing is for it.

        Timed pieces come before trials, those whose compiled code it has before others, then the longest.
        """
        candidates = [piece for piece in self.pieces if self._is_ready(piece, member)]
        if not candidates:
            return []
        piece = max(candidates, key=lambda piece: (piece.is_timed, _preference(piece, member, workers), piece.seconds))
        self.pieces.remove(piece)
        self.groups.claim(piece.jobs, member.host)
        return [ticket for ticket in piece.tickets if ticket in self.ledger.jobs]

    def note_compiled(self, job: Job, worker: str) -> None:
        """Take note of who has a case's compiled code, or may have it."""
        if has_own_variant(job.case) or builds(job.case):  # to ask the user's own would import it here
            self._worker_by_case[job.case.id] = worker

    def withdraw(self, case: str) -> None:
        """A case that failed is not visited again; a visit that a worker has is not taken from it."""
        self.withdrawn_cases.add(case)
        for ticket in self.ledger.of_case(case):
            if not self.ledger.jobs[ticket].holders:
                self.ledger.settle(ticket)

    def requeue(self, tickets: Sequence[int], suspects: Collection[int]) -> None:
        """Tickets that wait again, some of them each in a piece of its own."""
        open_tickets = [ticket for ticket in tickets if ticket in self.ledger.jobs]
        for ticket in open_tickets:
            if ticket in suspects:
                self.queue([ticket])
        if other_tickets := [ticket for ticket in open_tickets if ticket not in suspects]:
            self.queue(other_tickets)

    def purge(self) -> None:
        """Forget what is not open any more: a job that was given up must not keep back those beside it."""
        for piece in self.pieces:
            piece.tickets = [ticket for ticket in piece.tickets if ticket in self.ledger.jobs]
            piece.jobs = [self.ledger.jobs[ticket].job for ticket in piece.tickets]
        self.pieces = [piece for piece in self.pieces if piece.tickets]

    def strand(self, tickets: Iterable[int]) -> None:
        """Let jobs that no host can take now wait apart.

        They must keep back neither those beside them nor further rounds.
        """
        self._stranded_tickets = frozenset(tickets)
        for piece in list(self.pieces):
            open_tickets = [ticket for ticket in piece.tickets if ticket in self.ledger.jobs]
            stranded_tickets = [ticket for ticket in open_tickets if ticket in self._stranded_tickets]
            if stranded_tickets and len(stranded_tickets) < len(open_tickets):
                self.pieces.remove(piece)
                self.queue(stranded_tickets)
                self.queue(ticket for ticket in open_tickets if ticket not in self._stranded_tickets)

    def _is_ready(self, piece: WaitingPiece, member: Member) -> bool:
        """Whether a worker may take a piece now; all of it has one home, so that one job is asked for it.

        What names its host was asked for when it came: it has no other to wait for.
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
