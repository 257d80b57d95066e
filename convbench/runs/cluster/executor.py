"""An executor of many hosts: the driver on one side, an engine on the other. Plug-ins for engines derive from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from convbench.core import code, metrics
from convbench.core.errors import ConvbenchError
from convbench.core.findings import NOT_PROFILED
from convbench.core.record import Case, Finding, Record
from convbench.core.storage import profiles
from convbench.core.text import joined
from convbench.runs.cluster.driver import Driver
from convbench.runs.cluster.engine import Engine, Limits
from convbench.runs.cluster.roll import log
from convbench.runs.cluster.worker import modules_of
from convbench.runs.executor import Executor, Host, Job, JobRecord
from convbench.runs.process.needs import AllNeeds
from convbench.runs.process.script import user_imports
from convbench.runs.user_code import UserCode
from convbench.suite import Suite

T = TypeVar("T")


class Cluster(Executor):
    """Measures on many hosts behind an engine. Raises ConvbenchError for cases that other hosts cannot build."""

    def __init__(self, engine: Engine, cases: Sequence[Case], limits: Limits) -> None:
        self.driver = Driver(engine, limits)
        self.needs = AllNeeds()
        self._names: set[str] = set()
        self._differing_files: set[str] = set()
        self.expect(cases)

    @property
    def hosts(self) -> Sequence[Host]:
        return self.driver.hosts

    @property
    def lost(self) -> Collection[str]:
        return self.driver.lost

    @property
    def awaits_hosts(self) -> bool:
        return True

    def run(self, jobs: Iterable[Job]) -> Iterator[JobRecord]:
        for job, record in self.driver.run(jobs):
            self._warn_of_other_code(record)
            yield job, _note_missing_trace(job, record)

    def expect(self, cases: Sequence[Case]) -> None:
        if user_imports(cases).script:
            raise ConvbenchError(
                "the cases use definitions in the running script, which other hosts do not have: put them into a "
                "module that the hosts can import"
            )
        self.cases = cases
        self.needs.learn(cases, self.call)
        names = {*modules_of(cases), *self.needs.packages(cases)}
        if self.driver.groups.hosts and names - self._names:
            raise ConvbenchError(
                f"the hosts of this executor began without {joined(sorted(names - self._names))}, which these cases "
                "need: make another executor for them"
            )
        self._names = names
        self.driver.engine.expect(cases)

    def know(self, records: Sequence[Record]) -> None:
        self.driver.groups.know(records)

    def call(self, work: Callable[..., T], *args: Any) -> T:
        metrics = [name for suite in args if isinstance(suite, Suite) for name in suite.metrics]
        with UserCode(self.cases, metrics) as user_code:
            return user_code.run(work, args)

    def _warn_of_other_code(self, record: Record) -> None:
        """Warn once for each of the user's files that differs between a host and this machine."""
        for name in set(code.changed_files(record.code)) - self._differing_files:
            self._differing_files.add(name)
            log.warning(
                "convbench: %s differs between this machine and a host that measured %s: bring the copies up to date",
                name,
                record.case.id,
            )

    def close(self) -> None:
        self.driver.close()


def _note_missing_trace(job: Job, record: Record) -> Record:
    """Add a finding if the record's trace is missing here: the host that wrote it may share no disk with us."""
    if not job.probes or record.reading(metrics.TRACE_BYTES) is None:
        return record
    from convbench.measure.traces.capture import Capture

    folders = [profiles.directory_of(probe.profiles, job.case.id) for probe in job.probes if isinstance(probe, Capture)]
    if all((folder / profiles.SUMMARY).exists() for folder in folders):
        return record
    reason = "its trace is on the host that took it: choose an --out on a disk that all hosts share"
    return replace(record, findings=(*record.findings, Finding(NOT_PROFILED, data={"reason": reason})))
