"""The driver's input from a sweep: one round at a time, and no further one while its jobs depend on open results."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Literal

from convbench.runs.executor import Job

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
