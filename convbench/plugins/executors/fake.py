"""The executor ``fake``: invents records at once, to test schedulers, reports and programs that use an executor."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zlib import crc32

from convbench.core import metrics
from convbench.core.comparability import fingerprint
from convbench.core.record import Case, Reading, Record, Scalar
from convbench.core.registry import executors
from convbench.measure import attempts
from convbench.runs.executor import Executor, Host, Job, JobRecord

Answer = Callable[[Job, Host], Record]
START = datetime(2026, 1, 1, tzinfo=UTC)
SAMPLES = 30


def invented(job: Job, host: Host) -> Record:
    """Return a record of latencies that depend on the case's name, with a little noise on every visit and sample."""
    case = job.case
    typical = 1e-3 * (1 + crc32(case.id.encode()) % 1000 / 100)
    noise = random.Random(f"{case.id} {job.visit} {job.protocol.seed}")
    visit = noise.lognormvariate(0, 0.01)
    samples = tuple(typical * visit * noise.lognormvariate(0, 0.02) for _ in range(SAMPLES))
    return Record(case, "ok", (Reading(metrics.LATENCY, samples),), seconds=1.0)


@executors.register("fake")
class Fake(Executor):
    """Invented records under a fake clock; nothing is measured. For tests: never believe its numbers.

    ``answer`` makes the record of a job on a host, and may raise like a measurement; the record's ``seconds`` are the
    visit's duration on the fake clock. ``machines`` is the number of hosts, which work at the same time. ``now`` is the
    clock in seconds since the start, and ``started`` lists every visit's job, host and time.
    """

    def __init__(
        self,
        device: str,
        _cases: Sequence[Case] = (),
        *,
        answer: Answer = invented,
        machines: int = 1,
        memory_bytes: int = 2**33,
    ) -> None:
        self.answer = answer
        self.now = 0.0
        self.closed = False
        self.started: list[tuple[Job, Host, float]] = []
        self._hosts = [_host(number, device, memory_bytes) for number in range(machines)]

    @property
    def hosts(self) -> Sequence[Host]:
        return self._hosts

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        """Yield jobs in the order in which their visits end on the fake clock; ties in the order of their start."""
        queue, free_hosts = iter(jobs), list(self.hosts)
        visits: list[tuple[float, int, Host, Job, Record]] = []
        next_job: Job | None = None
        while True:
            while free_hosts and (next_job := next_job or next(queue, None)) and (host := _taker(free_hosts, next_job)):
                free_hosts.remove(host)
                record = self._visit(next_job, host)
                heapq.heappush(visits, (self.now + record.seconds, len(self.started), host, next_job, record))
                next_job = None
            if not visits:
                return
            self.now, _, host, job, record = heapq.heappop(visits)
            free_hosts.append(host)
            yield (replace(job, host=host.name) if len(self.hosts) > 1 else job), record

    def close(self) -> None:
        self.closed = True

    def _visit(self, job: Job, host: Host) -> Record:
        self.started.append((job, host, self.now))
        start = (START + timedelta(seconds=self.now)).isoformat(timespec="milliseconds")
        record = attempts.attempt(job.case, lambda _: self.answer(job, host))
        return replace(record, environment=host.fingerprint, started=start)


def _host(number: int, device: str, memory_bytes: int) -> Host:
    facts: dict[str, Scalar] = {"device": "cpu" if device == "auto" else device, "cpu": "invented", "cores": 2}
    return Host(f"fake-{number + 1}", facts, fingerprint(facts), memory_bytes, (0, 1))


def _taker(free_hosts: Sequence[Host], job: Job) -> Host | None:
    """Return the free host for a job: the host it names, or else the first; None while the named host is busy."""
    return next((host for host in free_hosts if job.host in ("", host.name)), None)
