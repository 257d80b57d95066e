"""The rounds of a sweep: taken one at a time, and cut into pieces for the hosts.

No further round is taken while its jobs depend on open results. Cases that are compared stay on one host: variants of
one model always share a piece, and reducers at one LSTM input size share one unless it would be too long. With few
hosts, all models of one backbone and clip may share one. Each trial is a piece of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Literal

from convbench.core.grouping import grouped
from convbench.runs.cluster.hosts import needs_home
from convbench.runs.executor import Job

PIECES_A_HOST = 6
"""Pieces that each host's share of a round is cut into: more waste start-up time, fewer leave hosts idle at the end."""
Cost = Callable[[Job], float]
Barrier = Literal["", "timed", "all"]


class Intake:
    """The jobs of a sweep, round by round. ``barrier`` says which jobs must end before more may be taken."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.has_ended = False
        self.barrier: Barrier = ""
        self._jobs = iter(jobs)
        self._next: Job | None = None

    def round(self) -> Iterator[Job]:
        """Yield the jobs up to the next round, or up to a job whose result decides what comes next."""
        self.barrier, round_key = "", None
        while (job := self._take()) is not None:
            if round_key is not None and _round_key(job) != round_key:
                self._next = job
                return
            round_key = _round_key(job)
            yield job
            if job.decides:
                self.barrier = "all" if job.case.trial else "timed"
                return

    def _take(self) -> Job | None:
        job, self._next = self._next, None
        if job is None:
            job = next(self._jobs, None)
            self.has_ended = job is None
        return job


def _round_key(job: Job) -> Hashable:
    return job.case.trial is None, job.visit if not job.host else job.host


def cut(jobs: Sequence[Job], hosts: int, cost: Cost) -> Iterator[list[Job]]:
    """Yield the pieces of one round for this many hosts: timed jobs, then jobs that name their host, then trials."""
    timed_jobs = list(filter(needs_home, jobs))
    limit = sum(map(cost, timed_jobs)) / hosts / PIECES_A_HOST
    for members in grouped(timed_jobs, lambda job: job.case.situation).values():
        yield from [members] if hosts == 1 else _situation_pieces(members, limit, cost)
    yield from grouped((job for job in jobs if job.host and not job.case.trial), lambda job: job.host).values()
    yield from ([job] for job in jobs if job.case.trial)


def _situation_pieces(jobs: Sequence[Job], limit: float, cost: Cost) -> Iterator[list[Job]]:
    """Pack the LSTM input sizes of a situation into pieces up to the limit; those that exceed it are split by model."""
    sizes = grouped(jobs, lambda job: getattr(job.case.architecture, "lstm_input", None))
    atoms = (_split(members, limit, cost) for members in sizes.values())
    yield from _pack(chain.from_iterable(atoms), limit, cost)


def _split(jobs: list[Job], limit: float, cost: Cost) -> Iterable[list[Job]]:
    if sum(map(cost, jobs)) <= limit:
        return [jobs]
    return grouped(jobs, lambda job: job.case.eager).values()


def _pack(atoms: Iterable[list[Job]], limit: float, cost: Cost) -> Iterator[list[Job]]:
    piece: list[Job] = []
    piece_seconds = 0.0
    for atom in atoms:
        seconds = sum(map(cost, atom))
        if piece and piece_seconds + seconds > limit:
            yield piece
            piece, piece_seconds = [], 0.0
        piece, piece_seconds = [*piece, *atom], piece_seconds + seconds
    if piece:
        yield piece
