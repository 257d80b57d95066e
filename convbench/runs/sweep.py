"""One run from suite to files: which cases, into which directory, each Record stored before the next case starts.

Prints nothing: the command line shows what happens through the ``Watcher`` it hands over.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal
from typing import Protocol as Interface

from convbench import __version__
from convbench.analysis.table import write_csv
from convbench.core import code, store
from convbench.core.errors import ConvbenchError, StoreError, SuiteError
from convbench.core.record import Case, Record, Run, Scalar
from convbench.core.registry import executors
from convbench.measure import harness
from convbench.measure.machine import environment
from convbench.measure.preflight import Plan, preflight, resolve
from convbench.measure.probes import Probe
from convbench.runs import apart
from convbench.runs.executor import Executor, Host, Job
from convbench.suite import Suite


class Watcher(Interface):
    """Is told what happens, case by case."""

    def begins(self, case: Case) -> None: ...

    def ended(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Selection:
    """Which of a suite's cases: by glob over the id or one of its parts, and by shard (i of n)."""

    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    shard: tuple[int, int] = (1, 1)

    def keeps(self, case: Case) -> bool:
        """Variants of one model share a shard, so that they are measured on the same machine."""
        names = _names(case)
        wanted = not self.only or any(fnmatchcase(name, pattern) for pattern in self.only for name in names)
        unwanted = any(fnmatchcase(name, pattern) for pattern in self.skip for name in names)
        index, shards = self.shard
        return wanted and not unwanted and zlib.crc32(case.eager.id.encode()) % shards == index - 1


@dataclass(frozen=True)
class Prepared:
    """A suite checked against the hosts that will measure it, and the executor that brings its jobs to them.

    ``probes`` run after those of the suite.
    """

    suite: Suite
    plan: Plan
    command: str
    executor: Executor = field(repr=False)
    probes: tuple[Probe, ...] = ()

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """Those of the first host, which stand for the run."""
        return self.executor.hosts[0].facts

    def jobs(self, done: Sequence[Record] = ()) -> Iterator[Job]:
        """A visit to every case of the plan that has no record among those that are ``done``."""
        finished = store.measured(done)
        for case in self.plan.cases:
            if case.id not in finished:
                yield Job(case, self.suite.protocol, self.suite.metrics, probes=self.probes)

    def run(self, visible_slowdown: float | None = None) -> Run:
        """The description of a new run, begun now; ``visible_slowdown`` is what the gate's selftest saw here."""
        host = self.executor.hosts[0]
        return Run(
            name=self.suite.name,
            command=self.command,
            suite=self.suite.text,
            protocol=self.suite.protocol,
            metrics=self.suite.metrics,
            planned=tuple(case.id for case in self.plan.cases),
            equal=self.plan.equal,
            environment=host.facts,
            fingerprint=host.fingerprint,
            convbench=__version__,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            visible_slowdown=visible_slowdown,
        )


def prepare(
    suite: Suite, executor: Executor, selection: Selection, command: str, probes: Sequence[Probe] = ()
) -> Prepared:
    """Learn what the hosts are and check every case on ``meta``; nothing is measured yet.

    Raises ConvbenchError for all that is wrong with the call, the suite or the hosts.
    """
    hosts = executor.hosts
    own = apart.names_own_code(suite.cases)
    planned = executor.call(plan, suite, hosts, selection) if own else plan(suite, hosts, selection)
    return Prepared(suite, planned, command, executor, tuple(probes))


def executor_of(suite: Suite, device: str, name: str | None = None, probes: Sequence[Probe] = ()) -> Executor:
    """The executor of that name for a suite; where none is named, fresh processes for whatever runs a model.

    ``device`` is ``auto`` (the GPU where there is one), ``cpu`` or ``cuda[:n]``. Raises ConvbenchError for an unknown
    name.
    """
    runs_models = harness.needs_isolation(suite.metrics) or probes or any(case.trial for case in suite.cases)
    apart_of_us = runs_models or apart.names_own_code(suite.cases)
    factory = executors.get(name or ("isolated" if apart_of_us else "in-process"))
    executor: Executor = factory.build(device, suite.cases)
    return executor


def plan(suite: Suite, hosts: Sequence[Host], selection: Selection) -> Plan:
    """The selected cases on the hosts' device, resolved, each once; a case has to fit into one of the hosts."""
    cases = [replace(case, device=hosts[0].device) for case in suite.cases]
    selected = [case for case in cases if selection.keeps(case)]
    if not selected:
        raise SuiteError(f"{suite.path}: none of its {len(cases)} cases is selected: --dry-run shows their names")
    return preflight(selected, max(host.available_bytes for host in hosts))


def selected(cases: Sequence[Case], selection: Selection) -> list[Case]:
    """The selected cases, resolved, each once."""
    return list(dict.fromkeys(resolve(case) for case in cases if selection.keeps(case)))


Resume = bool | Literal["stale"]
"""Whether to go on with a run; ``stale`` measures again what was measured of other code of the user's."""


def begin(prepared: Prepared, directory: Path, resume: Resume, visible_slowdown: float | None = None) -> list[Record]:
    """Start a run in ``directory``, or go on with the one that is there; returns what it has measured already.

    Raises StoreError where the run there was of another suite, protocol or environment, or of other code of the user's.
    """
    now = prepared.run(visible_slowdown)
    if not (resume and store.exists(directory)):
        store.start(directory, now)
        return []
    before = store.read_run(directory)
    if other := next(_differences(before, now), None):
        raise StoreError(
            f"{directory}: cannot be resumed, its {other} was another: run without --resume (the old run is kept "
            "beside the new one), or choose another --out"
        )
    store.drop_unfinished_line(directory)
    done = store.load(directory)[1]
    stale = {record.case.id: names for record in done if (names := code.changed(record.code))}
    if stale and resume != "stale":
        case, names = next(iter(stale.items()))
        raise StoreError(
            f"{directory}: {', '.join(names)} changed since {len(stale)} of its cases were measured, as {case}: "
            "--resume=stale measures those again; without --resume all are"
        )
    return store.leave_out(directory, stale) if stale else done


def measure(prepared: Prepared, directory: Path, done: Sequence[Record], watcher: Watcher) -> list[Record]:
    """Measure what is not ``done``, each Record stored as it comes; ``results.csv`` is written when interrupted too."""
    try:
        for _, record in prepared.executor.run(_announced(prepared.jobs(done), watcher)):
            store.append(directory, record)
            watcher.ended(record)
    finally:
        records = store.load(directory)[1]
        write_csv(directory, records)
    return records


def _announced(jobs: Iterable[Job], watcher: Watcher) -> Iterator[Job]:
    for job in jobs:
        watcher.begins(job.case)
        yield job


def _differences(before: Run, now: Run) -> Iterator[str]:
    if (before.name, before.planned) != (now.name, now.planned):
        yield "list of cases"
    if (before.protocol, before.metrics) != (now.protocol, now.metrics):
        yield "protocol"
    if before.fingerprint != now.fingerprint:
        keys = sorted(set(before.environment) | set(now.environment))
        differ = [key for key in keys if before.environment.get(key) != now.environment.get(key)]
        yield f"environment ({', '.join(key for key in differ if key not in environment.NOT_IDENTITY)})"


def _names(case: Case) -> set[str]:
    """The names a case can be selected by: its id as written and as resolved, and the parts of both."""
    ids = {case.id}
    with suppress(ConvbenchError):
        ids.add(resolve(case).id)
    return ids | {part for name in ids for part in name.split("/")}
