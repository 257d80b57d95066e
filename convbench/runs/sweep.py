"""One run from suite to files: which cases, into which directory, each visit stored before the next one starts.

Prints nothing: the command line shows what happens through the ``Watcher`` it hands over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Literal
from typing import Protocol as Interface

from convbench.analysis.choice.looks import LOOK
from convbench.analysis.table import write_csv
from convbench.core import code, store
from convbench.core.comparability import differing, other_hardware
from convbench.core.errors import StoreError
from convbench.core.progress import RunState
from convbench.core.record import Case, Record, RunDescription
from convbench.core.visits import Scope, in_table, scope
from convbench.runs import host_notes, menu, repeats
from convbench.runs.executor import Executor, Job, job_records
from convbench.runs.preparation import PreparedRun
from convbench.runs.schedule import Schedule
from convbench.suite import Suite


class Watcher(Interface):
    """Is told what happens, visit by visit; the state says which round it is and what is still open."""

    def begins(self, case: Case, state: RunState) -> None: ...

    def ended(self, record: Record) -> None: ...


THREADS = re.compile(r"/threads=(\d+)")
"""What the id of a case has of its threads, where they are more than one."""
Resume = bool | Literal["stale"]
"""Whether to go on with a run; ``stale`` measures again what was measured of other code of the user's."""


def begin(
    prepared: PreparedRun, directory: Path, resume: Resume, visible_slowdown: float | None = None
) -> list[Record]:
    """Start a run in ``directory``, or go on with the one that is there; returns what it has measured already.

    What was skipped there is tried again; what failed is not, since that may take its whole time limit each time.

    Raises StoreError where the run there has lost its description, or was of another suite, protocol or environment, or
    of other code of the user's.
    """
    run = prepared.run(visible_slowdown)
    if not _goes_on(directory, resume):
        store.start(directory, run)
        return []
    earlier_run = _complete(store.read_description(directory), run)
    _refuse_other(directory, _differences(earlier_run, run, prepared.executor.awaits_hosts))
    store.describe(directory, earlier_run)
    store.drop_unfinished_line(directory)
    records = store.load(directory)[1]
    if not prepared.executor.awaits_hosts:
        host_notes.refuse_other_kinds(directory, records, prepared.executor.hosts)
    host_notes.note(directory, prepared.executor.hosts, records)
    stale_ids = _stale_ids(directory, records, resume)
    # What was missing, as a compiler, may be there by now; to find that out takes no time.
    case_ids = {*stale_ids, *(record.case.id for record in records if record.status == "skipped")}
    return store.leave_out(directory, case_ids) if case_ids else records


@contextmanager
def reserve(directory: Path, suite: Suite, executor: Executor, resume: Resume) -> Iterator[bool]:
    """Whether the directory is locked: it is before hosts are asked for, which may wait in a queue for hours.

    Nothing is done where the hosts are there already: ``run_into`` does all of it then.

    Raises StoreError where another process measures there, and for a run that whatever hosts come cannot go on with.
    """
    if not executor.awaits_hosts:
        yield False
        return
    with store.hold_directory(directory):
        if _goes_on(directory, resume):
            earlier_run, records = store.load(directory)
            name_difference = ["list of cases"] if earlier_run.name != suite.name else []
            _refuse_other(directory, chain(name_difference, _protocol_difference(earlier_run, suite)))
            _stale_ids(directory, records, resume)
        yield True


def _goes_on(directory: Path, resume: Resume) -> bool:
    """Whether a run is there to go on with. Raises StoreError where it has lost its description."""
    if resume and not store.exists(directory) and store.has_results(directory):
        raise StoreError(
            f"{directory}: cannot be resumed, its {store.RUN} is lost: put it back, or run without --resume (what "
            f"lies there is kept in its {store.PREVIOUS})"
        )
    return bool(resume) and store.exists(directory)


def _refuse_other(directory: Path, differences: Iterator[str]) -> None:
    if difference := next(differences, None):
        raise StoreError(
            f"{directory}: cannot be resumed, its {difference} was another: run without --resume (the old run is kept "
            "beside the new one), or choose another --out"
        )


def _stale_ids(directory: Path, records: Sequence[Record], resume: Resume) -> set[str]:
    """The cases that were measured of other code of the user's. Raises StoreError unless they are to be again."""
    changes = {record.case.id: names for record in records if (names := code.changed_files(record.code))}
    if changes and resume != "stale":
        case, names = next(iter(changes.items()))
        raise StoreError(
            f"{directory}: {', '.join(names)} changed since {len(changes)} of its cases were measured, as {case}: "
            "--resume=stale measures those again; without --resume all are"
        )
    return {*changes}


def _complete(before: RunDescription, run: RunDescription) -> RunDescription:
    """A run that was merged with all that is planned now, in the suite's order; any other as it is, but for ``later``.

    Cases that only together are seen to be equal were planned by the shards of each.
    """
    planned_ids, known_ids = set(before.planned), set(run.planned).union(*run.equal.values())
    if not planned_ids <= known_ids or not (before.shards or set(run.planned) <= planned_ids):
        return replace(before, later=run.later)
    return replace(before, planned=run.planned, equal=run.equal, shards=(), later=run.later)


def measure(
    prepared: PreparedRun, directory: Path, old_records: Sequence[Record], watcher: Watcher, *, until_sure: bool = False
) -> list[Record]:
    """Make the visits not in ``old_records``, each stored as it comes; writes ``results.csv``, if interrupted too."""
    schedule = prepared.schedule(old_records, until_sure)
    prepared.executor.know(old_records)
    try:
        for record in host_notes.note_hosts(_visits(prepared, schedule, watcher), directory, prepared.executor):
            store.append(directory, record)
            watcher.ended(schedule.log.record(record.case))
    except BaseException:
        with suppress(StoreError):  # what ended the run is what matters
            _conclude(prepared, directory)
        raise
    records = _conclude(prepared, directory)
    for fingerprint, facts in prepared.kinds.items():
        repeats.keep_speed(facts, [record for record in records if record.environment == fingerprint])
    return records


def _conclude(prepared: PreparedRun, directory: Path) -> list[Record]:
    """What the run has by now, as a table and with what it says of its hosts. Raises StoreError."""
    records = store.load(directory)[1]
    write_csv(directory, records)
    host_notes.note(directory, prepared.executor.hosts, records)
    return records


def run_into(
    directory: Path,
    prepared: PreparedRun,
    watcher_of: Callable[[int, int], AbstractContextManager[Watcher]],
    *,
    resume: Resume,
    until_sure: bool,
    visible_slowdown: float | None = None,
    resumed: Callable[[list[Record]], object] = lambda _: None,
    locked: bool = False,
) -> list[Record]:
    """``begin`` and ``measure`` under the directory's lock, by a watcher of (cases done before, cases in all).

    It is ``locked`` already where ``reserve`` says so. ``resumed`` is given what was measured before and stays.
    """
    with nullcontext() if locked else store.hold_directory(directory):
        records = begin(prepared, directory, resume, visible_slowdown)
        resumed(records)
        with watcher_of(sum(map(in_table, records)), len(prepared.planned_cases)) as watcher:
            return measure(prepared, directory, records, watcher, until_sure=until_sure)


def measure_unstored(prepared: PreparedRun) -> list[Record]:
    """A Record a case, in the order of the plan, stored nowhere."""
    schedule = prepared.schedule()
    for _ in _visits(prepared, schedule, None):
        pass
    records = {record.case.id: record for record in schedule.log.records()}
    return [records[case.id] for case in prepared.plan.cases if case.id in records]


def _visits(prepared: PreparedRun, schedule: Schedule, watcher: Watcher | None) -> Iterator[Record]:
    """The record of each visit, which the schedule is told of before anything else is."""
    jobs = menu.jobs(schedule, prepared.menu, prepared.executor.hosts[0].cores)
    announced_jobs = _announce(jobs, schedule, watcher) if watcher else jobs
    known_speed = cache(partial(_known_speed, prepared))
    for job, visit in job_records(prepared.executor, announced_jobs):
        record = menu.visit_record(job, visit, known_speed(scope(visit)))
        if (look := schedule.state.look) > 1:
            record = replace(record, conditions={**record.conditions, LOOK: look})
        schedule.log.add(record)
        yield record


def _known_speed(prepared: PreparedRun, scope: Scope) -> float | None:
    facts = prepared.kinds.get(scope.environment)
    return repeats.known_speed(facts, *scope.setting) if facts else None


def _announce(jobs: Iterable[Job], schedule: Schedule, watcher: Watcher) -> Iterator[Job]:
    for job in jobs:
        watcher.begins(job.case, schedule.state)
        yield job


def _differences(before: RunDescription, run: RunDescription, awaits_hosts: bool) -> Iterator[str]:
    if (before.name, before.planned) != (run.name, run.planned):
        yield f"list of cases{_thread_difference(before, run)}"
    yield from _protocol_difference(before, run)
    # Of a cluster any kind of host may be the first to be there, also one that was not there before.
    kinds = {before.fingerprint: before.environment, **before.environments}
    if not kinds.keys() & {run.fingerprint, *run.environments}:
        if awaits_hosts and all(other_hardware(kind, run.environment) for kind in kinds.values()):
            return
        names = differing(before.environment, run.environment) or ["in a way that only an earlier convbench minded"]
        yield f"environment ({', '.join(names)})"


def _protocol_difference(before: RunDescription, target: RunDescription | Suite) -> Iterator[str]:
    """A budget is the command's own, and changes no number: a run that it ended goes on with another."""
    if (replace(before.protocol, budget=target.protocol.budget), before.metrics) != (target.protocol, target.metrics):
        yield "protocol"


def _thread_difference(before: RunDescription, run: RunDescription) -> str:
    """That lists of cases differ by what ``threads: all`` is alone, in brackets; empty where they do not."""
    pairs = list(zip(before.planned, run.planned, strict=False))
    alike = len(before.planned) == len(run.planned) and all(THREADS.sub("", a) == THREADS.sub("", b) for a, b in pairs)
    if before.name != run.name or not alike:
        return ""
    old, new = ((THREADS.search(case) or ["", "1"])[1] for case in next(pair for pair in pairs if pair[0] != pair[1]))
    return f" (`threads: all` are {new} here and were {old}: write the number)"
