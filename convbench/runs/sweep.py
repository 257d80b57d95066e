"""One run from suite to files: which cases, into which directory, each visit stored before the next one starts.

Prints nothing: the command line shows what happens through the ``Watcher`` it hands over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from typing import Protocol as Interface

from convbench.analysis.choice.settling import LOOK
from convbench.analysis.table import write_csv
from convbench.core import code, store
from convbench.core.comparability import differing
from convbench.core.errors import ConvbenchError, StoreError
from convbench.core.package import __version__
from convbench.core.profiles import PROFILES
from convbench.core.record import Case, Record, Run, Scalar
from convbench.core.registry import executors
from convbench.core.visits import Stage, in_table
from convbench.measure.probes import Probe
from convbench.runs import apart, repeats, several, visits
from convbench.runs.executor import Executor, Job
from convbench.runs.schedule import Schedule
from convbench.runs.visits import Menu
from convbench.suite import Suite
from convbench.suite.selection import Plan, Selection


class Watcher(Interface):
    """Is told what happens, visit by visit; the stage says which round it is and what is still open."""

    def begins(self, case: Case, stage: Stage) -> None: ...

    def ended(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Prepared:
    """A suite checked against the hosts that will measure it, and the executor that brings its jobs to them."""

    suite: Suite
    plan: Plan
    menu: Menu
    command: str
    executor: Executor = field(repr=False)

    @property
    def facts(self) -> Mapping[str, Scalar]:
        """Those of the first host, which stand for the run."""
        return self.executor.hosts[0].facts

    def schedule(self, done: Sequence[Record] = (), until_sure: bool = False) -> Schedule:
        """The visits to make; those of the records that are ``done`` are made."""
        start, protocol = time.monotonic(), self.menu.protocol(self.suite.protocol)
        facts = bool(self.menu.exact)
        schedule = Schedule(
            self.plan.cases,
            protocol,
            lambda _: facts,
            lambda: time.monotonic() - start,
            until_sure=until_sure,
            hosts=lambda: self.executor.hosts,
        )
        for record in done:
            schedule.add(record)
        return schedule

    def run(self, visible_slowdown: float | None = None) -> Run:
        """The description of a new run, begun now; ``visible_slowdown`` is what the gate's selftest saw here."""
        hosts = self.executor.hosts
        host = hosts[0]
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
            intervals_meet=repeats.known(host.facts),
            **several.described(hosts),
        )


def prepare(
    suite: Suite, executor: Executor, selection: Selection, command: str, probes: Sequence[Probe] = ()
) -> Prepared:
    """Learn what the hosts are and check every case on ``meta``; nothing is measured yet.

    A case has to fit into the memory of one of the hosts. ``probes`` run after those of the suite.

    Raises ConvbenchError for all that is wrong with the call, the suite or the hosts.
    """
    hosts = executor.hosts
    free, cores = max(host.available_bytes for host in hosts), len(hosts[0].cores)
    answer = executor.call(_planned, suite, hosts[0].device, free, selection, cores)
    if isinstance(answer, ConvbenchError):
        raise answer
    planned, menu = answer
    return Prepared(suite, planned, replace(menu, probes=tuple(probes)), command, executor)


def _planned(
    suite: Suite, device: str, free: int, selection: Selection, cores: int
) -> tuple[Plan, Menu] | ConvbenchError:
    """What is to be measured of a suite, or why nothing can be: for a process that has imported torch anyway."""
    from convbench.measure.selection import plan

    try:
        return plan(suite, device, free, selection, cores), Menu.of(suite.metrics)
    except ConvbenchError as error:
        return error


def profiler(suite: Suite, directory: Path) -> list[Probe]:
    """The probe that takes traces into the run's directory, where the suite asks for them."""
    if not suite.profile:
        return []
    from convbench.measure.traces.capture import Capture

    return [Capture(directory / PROFILES)]


def executor_of(
    suite: Suite,
    device: str,
    name: str | None = None,
    probes: Sequence[Probe] = (),
    options: Mapping[str, Scalar] | None = None,
) -> Executor:
    """The executor of that name for a suite; where none is named, fresh processes for whatever runs a model.

    ``device`` is ``auto`` (the GPU where there is one), ``cpu`` or ``cuda[:n]``; ``options`` are those of the executor,
    checked already (``executor_options``). Raises ConvbenchError for an unknown name.
    """
    runs_models = probes or any(case.trial for case in suite.cases) or _run_models(suite.metrics)
    apart_of_us = runs_models or apart.names_own_code(suite.cases)
    factory = executors.get(name or ("isolated" if apart_of_us else "in-process"))
    executor: Executor = factory.build(device, suite.cases, **(options or {}))
    return executor


def _run_models(metrics: Sequence[str]) -> bool:
    """Whether any of these metrics needs more than a look at the model; of the user's own, that is not known here."""
    if not metrics or any(":" in name for name in metrics):
        return True
    from convbench.measure import harness

    return harness.needs_isolation(metrics)


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
    several.refuse_other_kinds(directory, done, prepared.executor.hosts)
    several.note(directory, prepared.executor.hosts, done)
    stale = {record.case.id: names for record in done if (names := code.changed(record.code))}
    if stale and resume != "stale":
        case, names = next(iter(stale.items()))
        raise StoreError(
            f"{directory}: {', '.join(names)} changed since {len(stale)} of its cases were measured, as {case}: "
            "--resume=stale measures those again; without --resume all are"
        )
    return store.leave_out(directory, stale) if stale else done


def measure(
    prepared: Prepared, directory: Path, done: Sequence[Record], watcher: Watcher, *, until_sure: bool = False
) -> list[Record]:
    """Make the visits that are not ``done``, each stored as it comes; ``results.csv`` is written if interrupted too."""
    schedule = prepared.schedule(done, until_sure)
    prepared.executor.know(done)
    try:
        for record in _visits(prepared, schedule, watcher):
            store.append(directory, record)
            watcher.ended(schedule.record(record.case))
    finally:
        records = store.load(directory)[1]
        write_csv(directory, records)
        several.note(directory, prepared.executor.hosts, records)
    repeats.keep_speed(prepared.facts, records)
    return records


def run_into(
    directory: Path,
    prepared: Prepared,
    watched: Callable[[int, int], AbstractContextManager[Watcher]],
    *,
    resume: Resume = False,
    until_sure: bool = False,
    visible_slowdown: float | None = None,
) -> list[Record]:
    """``begin`` and ``measure`` under the directory's lock, by a watcher of (cases done before, cases in all)."""
    with store.locked(directory):
        done = begin(prepared, directory, resume, visible_slowdown)
        with watched(sum(map(in_table, done)), len(prepared.plan.cases)) as watcher:
            return measure(prepared, directory, done, watcher, until_sure=until_sure)


def measured(prepared: Prepared) -> list[Record]:
    """A Record a case, in the order of the plan, stored nowhere."""
    schedule = prepared.schedule()
    for _ in _visits(prepared, schedule, None):
        pass
    return [schedule.record(case) for case in prepared.plan.cases]


def _visits(prepared: Prepared, schedule: Schedule, watcher: Watcher | None) -> Iterator[Record]:
    """The record of each visit, which the schedule is told of before anything else is."""
    jobs = visits.jobs(schedule, prepared.menu, prepared.executor.hosts[0].cores)
    announced = _announced(jobs, schedule, watcher) if watcher else jobs
    speed = repeats.known_speed(prepared.facts)
    for visit in prepared.executor.run(announced):
        record = visits.visited(*visit, speed)
        if schedule.look > 1:
            record = replace(record, conditions={**record.conditions, LOOK: schedule.look})
        schedule.add(record)
        yield record


def _announced(jobs: Iterable[Job], schedule: Schedule, watcher: Watcher) -> Iterator[Job]:
    for job in jobs:
        watcher.begins(job.case, schedule.stage)
        yield job


def _differences(before: Run, now: Run) -> Iterator[str]:
    if (before.name, before.planned) != (now.name, now.planned):
        yield "list of cases"
    if (before.protocol, before.metrics) != (now.protocol, now.metrics):
        yield "protocol"
    if before.fingerprint not in {now.fingerprint, *now.environments}:
        yield f"environment ({', '.join(differing(before.environment, now.environment))})"
