"""What the driver takes from a sweep: a round at a time, and nothing more where what comes next is not decided yet."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Literal

from convbench.runs.executor import Job

Barrier = Literal["", "timed", "all"]


class Intake:
    """The jobs of a sweep, round by round. ``barrier`` says which of those taken must end before more may be taken."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.has_ended = False
        self.barrier: Barrier = ""
        self._jobs = iter(jobs)
        self._next: Job | None = None

    def round(self) -> Iterator[Job]:
        """The jobs up to the next round, or up to one that decides what is next."""
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
