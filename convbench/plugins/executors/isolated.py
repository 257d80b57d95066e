"""isolated: what ``convbench run`` takes for whatever runs a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from multiprocessing.connection import wait
from typing import Any, TypeVar
from zlib import crc32

from convbench.core.errors import CaseFailed, ConvbenchError, Unavailable
from convbench.core.record import Case, Record
from convbench.core.registry import executors
from convbench.measure import attempts
from convbench.measure.machine import malloc
from convbench.runs import early_server, user_code
from convbench.runs.executor import Host, Job, JobRecord, OnThisMachine, here, measure_here, one_by_one
from convbench.runs.process_needs import AllNeeds
from convbench.runs.process_start import TRAINED
from convbench.runs.processes import Processes
from convbench.runs.running import SECONDS_BETWEEN_LOOKS, Call, Running
from convbench.runs.script import user_imports

T = TypeVar("T")
ON_ONE_GPU = 4
"""Processes at once on a GPU, while they compile and count: each has a context and a model there."""


@executors.register("isolated")
class Isolated(OnThisMachine):
    """A fresh process a visit on this machine, one after another if timed: nothing a case does ends the sweep."""

    def __init__(self, device: str, cases: Sequence[Case] = ()) -> None:
        self.needs = AllNeeds()
        self.processes = early_server.take([])
        try:
            super().__init__(device, cases)
            if not set(preloads := self._preloads()) <= set(self.processes.preload):
                self.processes.close()
                self.processes = Processes(preloads)
        except BaseException:
            self.processes.close()
            raise

    def expect(self, cases: Sequence[Case]) -> None:
        user_imports(cases)
        self.cases = cases
        self.needs.learn(cases, self.call)
        super().expect(cases)

    def versions(self, cases: Sequence[Case]) -> tuple[str, ...]:
        return self.needs.packages(cases)

    @cached_property
    def hosts(self) -> Sequence[Host]:
        """This machine, described in a process of its own: the caller's never touches the device."""
        try:
            return (self.processes.run(Call(here, (self.device, self.packages))),)
        except CaseFailed as error:
            raise ConvbenchError(str(error)) from error

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        """Jobs that take times one after another, the others side by side, each on a core of its own."""
        if any(case.trial and case.variant for case in self.cases):
            (self.processes.scratch / TRAINED).mkdir(exist_ok=True)
        pool = _JobPool(self)
        try:
            for job in jobs:
                if job.takes_times or len(self._cores(job)) < 2:
                    yield from pool.drain()
                    yield from one_by_one([job], self.hosts[0], self.measure)
                else:
                    yield from pool.start(job)
                    yield from pool.collect(room_for=1 if job.decides else len(self._cores(job)))
            yield from pool.drain()
        finally:
            pool.end()

    def start(self, job: Job) -> Running[Record]:
        """Begin a job in a fresh process under its protocol's time limit. Raises Unavailable where that cannot be."""
        needs, limit = self.needs.of(job.case), job.protocol.timeout
        if needs.missing:
            raise Unavailable(needs.missing)
        cache = "" if job.protocol.visits == 1 else f"{crc32(job.case.id.encode()):08x}"
        call = Call(
            measure, (job,), needs.variables, limit, needs.builds, user_imports([job.case]),
            cache=cache, limited_by="protocol.timeout",
        )  # fmt: skip
        return self.processes.start(call)

    def measure(self, job: Job) -> Record:
        """The job in a fresh process. Raises CaseFailed, or Unavailable."""
        return self.start(job).final_result()

    def call(self, work: Callable[..., T], *args: Any) -> T:
        return user_code.call_safely(self.processes, work, args, "checking the suite's cases", self.cases)

    def _cores(self, job: Job) -> tuple[int, ...]:
        """What jobs that take no times may be spread over: each on a GPU needs memory of it for itself."""
        return self.hosts[0].cores if job.case.device == "cpu" else self.hosts[0].cores[:ON_ONE_GPU]

    def _preloads(self) -> list[str]:
        """What the forkserver should import for these cases, besides what every case needs."""
        compiler = [early_server.COMPILER] if any(self.needs.of(case).builds for case in self.cases) else []
        return compiler + ([early_server.DIGITS] if any(case.trial for case in self.cases) else [])

    def close(self) -> None:
        self.processes.close()


def measure(job: Job) -> Record:
    """``measure_here``, in a process that is the job's own."""
    if job.case.trial:
        _keep_memory()
    return measure_here(job)


class _JobPool:
    """Jobs that run at the same time, each on a core of its own."""

    def __init__(self, executor: Isolated) -> None:
        self.executor = executor
        self.running: list[tuple[Job, Running[Record]]] = []
        self.crowded_runs: set[Running[Record]] = set()
        """Those that shared the memory with another for a while."""

    def start(self, job: Job) -> Iterator[JobRecord]:
        """Begin a job; its record where it cannot even begin."""
        busy_cores = {core for other_job, _ in self.running for core in other_job.cores}
        free_core = next((core for core in self.executor.hosts[0].cores if core not in busy_cores), None)
        pinned_job = replace(job, cores=() if free_core is None else (free_core,))
        try:
            self.running.append((pinned_job, self.executor.start(pinned_job)))
        except Exception as error:
            yield job, replace(attempts.failed(job.case, error), environment=self.executor.hosts[0].fingerprint)
        if len(self.running) > 1:
            self.crowded_runs.update(running for _, running in self.running)

    def collect(self, room_for: int) -> Iterator[JobRecord]:
        """The jobs that end until fewer than so many run."""
        while len(self.running) >= room_for:
            seconds_left = min(running.seconds_left for _, running in self.running)
            signs = [sign for _, running in self.running for sign in running.signs]
            wait(signs, min(seconds_left, SECONDS_BETWEEN_LOOKS))
            ready_entries = [entry for entry in self.running if entry[1].ready()]
            for job, running in ready_entries:
                self.running.remove((job, running))
                yield self._visit(job, running)

    def drain(self) -> Iterator[JobRecord]:
        return self.collect(room_for=1)

    def end(self) -> None:
        for _, running in self.running:
            running.end()

    def _visit(self, job: Job, running: Running[Record]) -> JobRecord:
        """The job with its record. What ran out of memory beside others is tried again when they have ended."""
        host = self.executor.hosts[0]
        record = attempts.attempt(job.case, lambda _: running.final_result())
        if record.failure and record.failure.kind == "out of memory" and running in self.crowded_runs:
            list(map(self._wait_for, self.running))
            ((_, record),) = one_by_one([job], host, self.executor.measure)
        return job, replace(record, environment=host.fingerprint)

    @staticmethod
    def _wait_for(entry: tuple[Job, Running[Record]]) -> None:
        entry[1].wait()


def _keep_memory() -> None:
    """For a case whose latency is no result: nothing is mapped anew for every batch, which takes twice as long."""
    with suppress(Unavailable):
        malloc.apply(malloc.GLIBC_ARENA)
