"""The executor ``isolated``: the default of ``convbench run`` if a model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from multiprocessing.connection import wait
from typing import Any, TypeVar
from zlib import crc32

from convbench.core.errors import CaseFailed, ConvbenchError, StoreError, Unavailable
from convbench.core.record import Case, Record
from convbench.core.registry import executors
from convbench.measure import attempts
from convbench.measure.machine import malloc
from convbench.runs import early_server, user_code
from convbench.runs.executor import Host, Job, JobRecord, OnThisMachine, measure_here, one_by_one, this_machine
from convbench.runs.process.needs import AllNeeds
from convbench.runs.process.processes import Processes
from convbench.runs.process.running import SECONDS_BETWEEN_LOOKS, ProcessCall, RunningCall
from convbench.runs.process.script import user_imports
from convbench.runs.process.start import TRAINED

T = TypeVar("T")
ON_ONE_GPU = 4
"""Maximum number of processes at once on a GPU while they compile and count: each has a CUDA context and a model."""


@executors.register("isolated")
class Isolated(OnThisMachine):
    """A fresh process per visit on this machine, one at a time if timed: no case can end the sweep."""

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
        """This machine, described by a separate process: the caller's process never touches the device."""
        try:
            return (self.processes.run(ProcessCall(this_machine, (self.device, self.packages))),)
        except CaseFailed as error:
            raise ConvbenchError(str(error)) from error

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        """Measure timed jobs one after another, and other jobs side by side, each on its own core."""
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

    def start(self, job: Job) -> RunningCall[Record]:
        """Start a job in a fresh process under its protocol's time limit. Raises Unavailable if it cannot run here."""
        needs, limit = self.needs.of(job.case), job.protocol.timeout
        if needs.missing:
            raise Unavailable(needs.missing)
        cache = "" if job.protocol.visits == 1 else f"{crc32(job.case.id.encode()):08x}"
        call = ProcessCall(
            measure, (job,), needs.variables, limit, needs.builds, user_imports([job.case]),
            cache=cache, limited_by="protocol.timeout",
        )  # fmt: skip
        return self.processes.start(call)

    def measure(self, job: Job) -> Record:
        """Measure a job in a fresh process. Raises CaseFailed or Unavailable."""
        return self.start(job).final_result()

    def call(self, work: Callable[..., T], *args: Any) -> T:
        return user_code.call_safely(self.processes, work, args, "checking the suite's cases", self.cases)

    def _cores(self, job: Job) -> tuple[int, ...]:
        """Return the cores for jobs without timing; few on a GPU, as each job needs its own memory there."""
        return self.hosts[0].cores if job.case.device == "cpu" else self.hosts[0].cores[:ON_ONE_GPU]

    def _preloads(self) -> list[str]:
        """Return the modules that the forkserver should import for these cases, besides those that every case needs."""
        compiler = [early_server.COMPILER] if any(self.needs.of(case).builds for case in self.cases) else []
        return compiler + ([early_server.DIGITS] if any(case.trial for case in self.cases) else [])

    def close(self) -> None:
        self.processes.close()


def measure(job: Job) -> Record:
    """Measure a job in its own process."""
    if job.case.trial:
        # Keep freed memory: mapping it anew for every batch takes twice as long, and a trial is not timed.
        with suppress(Unavailable):
            malloc.apply(malloc.GLIBC_ARENA)
    return measure_here(job)


class _JobPool:
    """Jobs that run at the same time, each on a core of its own."""

    def __init__(self, executor: Isolated) -> None:
        self.executor = executor
        self.running: list[tuple[Job, RunningCall[Record]]] = []
        self.crowded_runs: set[RunningCall[Record]] = set()
        """Jobs that shared the memory with another job for a while."""

    def start(self, job: Job) -> Iterator[JobRecord]:
        """Start a job; if it cannot start, yield it with its record."""
        busy_cores = {core for other_job, _ in self.running for core in other_job.cores}
        free_core = next((core for core in self.executor.hosts[0].cores if core not in busy_cores), None)
        pinned_job = replace(job, cores=() if free_core is None else (free_core,))
        try:
            self.running.append((pinned_job, self.executor.start(pinned_job)))
        except StoreError:
            raise
        except Exception as error:
            yield job, replace(attempts.failed_record(job.case, error), environment=self.executor.hosts[0].fingerprint)
        if len(self.running) > 1:
            self.crowded_runs.update(running for _, running in self.running)

    def collect(self, room_for: int) -> Iterator[JobRecord]:
        """Yield jobs as they end, until fewer than ``room_for`` are running."""
        while len(self.running) >= room_for:
            seconds_left = min(running.seconds_left for _, running in self.running)
            signs = [sign for _, running in self.running for sign in running.signs]
            wait(signs, min(seconds_left, SECONDS_BETWEEN_LOOKS))
            ready_entries = [entry for entry in self.running if entry[1].is_ready()]
            for job, running in ready_entries:
                self.running.remove((job, running))
                yield self._visit(job, running)

    def drain(self) -> Iterator[JobRecord]:
        return self.collect(room_for=1)

    def end(self) -> None:
        for _, running in self.running:
            running.end()

    def _visit(self, job: Job, running: RunningCall[Record]) -> JobRecord:
        """Return the job with its record. A job that lacked memory or the GPU beside others is tried again alone."""
        host = self.executor.hosts[0]
        record = attempts.attempt(job.case, lambda _: running.final_result())
        if attempts.may_succeed_alone(record.failure) and running in self.crowded_runs:
            for _, other in self.running:
                other.wait()
            ((_, record),) = one_by_one([job], host, self.executor.measure)
        return job, replace(record, environment=host.fingerprint)
