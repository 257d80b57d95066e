"""One run from suite to files: which cases, into which directory, each Record stored before the next case starts.

Prints nothing: the command line shows what happens through the ``Watcher`` it hands over.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Protocol as Interface

from convbench import __version__
from convbench.analysis.table import write_csv
from convbench.core import store
from convbench.core.errors import CaseFailed, ConvbenchError, StoreError, SuiteError
from convbench.core.record import Case, Record, Run, Scalar
from convbench.measure import harness
from convbench.measure.machine import environment
from convbench.measure.preflight import Plan, preflight, resolve
from convbench.measure.probes import Probe
from convbench.runs.isolated import Isolated, preloads
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
    """A suite checked and ready to be measured on a device of this machine, and how to measure one case of it."""

    suite: Suite
    plan: Plan
    metrics: tuple[str, ...]
    facts: dict[str, Scalar]
    command: str
    measure: harness.Measure = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return environment.fingerprint(self.facts)

    def run(self, visible_slowdown: float | None = None) -> Run:
        """The description of a new run, begun now; ``visible_slowdown`` is what the gate's selftest saw here."""
        return Run(
            name=self.suite.name,
            command=self.command,
            suite=self.suite.text,
            protocol=self.suite.protocol,
            metrics=self.metrics,
            planned=tuple(case.id for case in self.plan.cases),
            equal=self.plan.equal,
            environment=self.facts,
            fingerprint=self.fingerprint,
            convbench=__version__,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            visible_slowdown=visible_slowdown,
        )


@contextmanager
def prepare(
    suite: Suite, device: str, selection: Selection, command: str, last: Sequence[Probe] = ()
) -> Iterator[Prepared]:
    """Learn what the machine is and check every case on ``meta``; nothing is measured yet.

    ``device`` is ``auto`` (the GPU where there is one), ``cpu`` or ``cuda[:n]``; ``last`` are probes to run after
    those of the suite. Raises ConvbenchError for all that is wrong with the call, the suite or the machine.
    """
    metrics = suite.metrics
    if not (harness.needs_isolation(metrics) or last or any(case.trial for case in suite.cases)):
        facts = environment.describe(device)
        measure = partial(harness.measure, protocol=suite.protocol, metrics=metrics)
        yield Prepared(suite, plan(suite, facts, selection), metrics, facts, command, measure)
        return
    with Isolated(suite.protocol, metrics, preloads(suite.cases), last) as isolated:
        try:
            facts = isolated.call(environment.describe, (device,), {})
        except CaseFailed as error:
            raise ConvbenchError(str(error)) from error
        yield Prepared(suite, plan(suite, facts, selection), metrics, facts, command, isolated)


def plan(suite: Suite, facts: Mapping[str, Scalar], selection: Selection) -> Plan:
    """The selected cases on the machine's device, resolved, each once."""
    cases = [replace(case, device=str(facts["device"])) for case in suite.cases]
    kept = [case for case in cases if selection.keeps(case)]
    if not kept:
        raise SuiteError(f"{suite.path}: none of its {len(cases)} cases is selected: --dry-run shows their names")
    return preflight(kept, environment.available_bytes(facts))


def begin(prepared: Prepared, directory: Path, resume: bool, visible_slowdown: float | None = None) -> list[Record]:
    """Start a run in ``directory``, or go on with the one that is there; returns what it has measured already.

    Raises StoreError where the run there was of another suite, protocol or environment.
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
    return store.load(directory)[1]


def measure(prepared: Prepared, directory: Path, done: Sequence[Record], watcher: Watcher) -> list[Record]:
    """Measure what is not ``done``, each Record stored as it comes; ``results.csv`` is written when interrupted too."""
    finished = store.measured(done)
    waiting = (case for case in prepared.plan.cases if case.id not in finished)
    try:
        measured = harness.run(_announced(waiting, watcher), prepared.measure)
        for record in harness.stamped(measured, prepared.fingerprint):
            store.append(directory, record)
            watcher.ended(record)
    finally:
        records = store.load(directory)[1]
        write_csv(directory, records)
    return records


def _announced(cases: Iterable[Case], watcher: Watcher) -> Iterator[Case]:
    for case in cases:
        watcher.begins(case)
        yield case


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
