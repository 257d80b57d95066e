"""Make one run from suite to files: start or resume it in a directory, and store each visit before the next starts.

Nothing is printed here: the command line shows the progress through the ``Watcher`` that it hands over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Literal
from typing import Protocol as Interface

from convbench.analysis.choice.recommendation import LOOK
from convbench.analysis.table import write_csv
from convbench.core import code
from convbench.core.comparability import differing, other_hardware
from convbench.core.errors import StoreError
from convbench.core.progress import RunState
from convbench.core.record import Case, Record, RunDescription
from convbench.core.storage import merging, store
from convbench.core.visits import Scope, scope
from convbench.runs import host_notes, probe_plan, repeats
from convbench.runs.executor import Executor, Job, job_records
from convbench.runs.preparation import PreparedRun
from convbench.runs.schedule import Schedule
from convbench.suite import Suite


class Watcher(Interface):
    """Receives the progress of a run, visit by visit. The state names the round and the open cases."""

    def begins(self, case: Case, state: RunState) -> None: ...

    def ended(self, record: Record) -> None: ...


THREADS = re.compile(r"/threads=(\d+)")
"""The part of a case's id that names its threads, if there is more than one."""
Resume = bool | Literal["stale"]
"""Whether to resume a run. ``stale`` also measures again the cases whose user code has changed."""


def begin(
    prepared: PreparedRun, directory: Path, resume: Resume, visible_slowdown: float | None = None
) -> list[Record]:
    """Start a run in ``directory``, or resume the run there. Return the records that it keeps.

    Cases that the suite has besides those of the run there are added to it. Skipped cases are tried again. Failed cases
    are not: each retry may take its whole time limit.

    Raises StoreError if the run there has lost its description, if it has cases that the suite lacks, or if its
    protocol, environment or user code differs.
    """
    run = prepared.run(visible_slowdown)
    if not _goes_on(directory, resume):
        store.start(directory, run)
        return []
    earlier_run = _complete(store.read_description(directory), run)
    _refuse_other(directory, _differences(earlier_run, run, prepared.executor.awaits_hosts))
    records = store.load(directory)[1]  # first, because damage must not be added to
    store.describe(directory, earlier_run)
    store.finish_last_line(directory)
    if not prepared.executor.awaits_hosts:
        host_notes.refuse_other_kinds(directory, records, prepared.executor.hosts)
    host_notes.note(directory, prepared.executor.hosts, records)
    stale_ids = _stale_ids(directory, records, resume)
    # What a skipped case lacked, such as a compiler, may be there by now. Finding out takes no time.
    case_ids = {*stale_ids, *(record.case.id for record in records if record.status == "skipped")}
    return store.leave_out(directory, case_ids) if case_ids else records


@contextmanager
def reserve(directory: Path, suite: Suite, executor: Executor, resume: Resume) -> Iterator[bool]:
    """Lock the directory before hosts are asked for, which may wait in a queue for hours. Yield whether it is locked.

    If the hosts are there already, nothing is done here: ``run_into`` locks and checks the directory then.

    Raises StoreError if another process measures there, or if the run there cannot be resumed on any hosts.
    """
    if not executor.awaits_hosts:
        yield False
        return
    with store.hold_directory(directory):
        if _goes_on(directory, resume):
            earlier_run, records = store.load(directory)
            _refuse_other(directory, _suite_differences(earlier_run, suite))
            _stale_ids(directory, records, resume)
        yield True


def _goes_on(directory: Path, resume: Resume) -> bool:
    """Whether there is a run to resume. Raises StoreError if it has lost its description."""
    if resume and not store.exists(directory) and store.has_results(directory):
        raise StoreError(
            f"{directory}: cannot be resumed: its {store.RUN} is lost; put it back, or run without --resume (what "
            f"lies there is kept in its {store.PREVIOUS})"
        )
    return bool(resume) and store.exists(directory)


def _refuse_other(directory: Path, differences: Iterator[str]) -> None:
    if difference := next(differences, None):
        raise StoreError(
            f"{directory}: cannot be resumed: its {difference} differs; run without --resume (the old run is kept "
            "beside the new one), or choose another --out"
        )


def _stale_ids(directory: Path, records: Sequence[Record], resume: Resume) -> set[str]:
    """Return the cases whose user code has changed since. Raises StoreError if there are any, unless ``stale``."""
    changes = {record.case.id: names for record in records if (names := code.changed_files(record.code))}
    if changes and resume != "stale":
        case, names = next(iter(changes.items()))
        raise StoreError(
            f"{directory}: {', '.join(names)} changed since {len(changes)} of its cases were measured, such as {case}: "
            "--resume=stale measures these again; without --resume, all are measured again"
        )
    return {*changes}


def _complete(old_run: RunDescription, run: RunDescription) -> RunDescription:
    """Return the stored description, extended to all cases planned now if the suite has more, or all shards of it.

    Shards may each have planned one of two equal cases, because only the whole suite shows that they are equal. A copy
    that was made before is a part of the extended run from now on.
    """
    old_ids, new_ids = set(old_run.planned), set(run.planned)
    are_shards = old_ids <= new_ids.union(*run.equal.values()) and bool(old_run.shards or new_ids <= old_ids)
    if not (old_ids <= new_ids or are_shards):
        return old_run
    noted_run = replace(old_run, equal=run.equal, impossible=run.impossible, later=run.later)
    if old_ids == new_ids and not old_run.shards:
        return noted_run
    parts = tuple(dict.fromkeys((*old_run.parts, merging.identity(old_run))))
    return replace(noted_run, command=run.command, suite=run.suite, planned=run.planned, shards=(), parts=parts)


def measure(
    prepared: PreparedRun, directory: Path, old_records: Sequence[Record], watcher: Watcher, *, until_sure: bool = False
) -> list[Record]:
    """Make and store the visits not in ``old_records``. Writes ``results.csv`` at the end, even if interrupted."""
    schedule = prepared.schedule(old_records, until_sure)
    prepared.executor.know(old_records)
    try:
        for record in host_notes.note_hosts(_visits(prepared, schedule, watcher), directory, prepared.executor):
            store.append(directory, record)
            watcher.ended(schedule.log.record(record.case))
    except BaseException:
        with suppress(StoreError):  # the error that ended the run matters more
            _conclude(prepared, directory)
        raise
    records = _conclude(prepared, directory)
    for fingerprint, facts in prepared.kinds.items():
        repeats.keep_speed(facts, [record for record in records if record.environment == fingerprint])
    return records


def _conclude(prepared: PreparedRun, directory: Path) -> list[Record]:
    """Write the table of the records stored so far and the notes on their hosts. Return the records.

    Raises StoreError.
    """
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
    """``begin`` and ``measure`` under the directory's lock.

    ``watcher_of`` builds the watcher from (cases done before, cases known by now). ``resumed`` receives the records
    that an earlier run leaves. ``locked`` is whether ``reserve`` holds the lock already.
    """
    with nullcontext() if locked else store.hold_directory(directory):
        records = begin(prepared, directory, resume, visible_slowdown)
        resumed(records)
        done = [record.case.id for record in records if not record.is_untimed]  # also trainings that are planned later
        known = {case.id for case in prepared.planned_cases}.union(done)
        with watcher_of(len(done), len(known)) as watcher:
            return measure(prepared, directory, records, watcher, until_sure=until_sure)


def measure_unstored(prepared: PreparedRun) -> list[Record]:
    """Measure one Record per case, in the order of the plan, and store nothing."""
    schedule = prepared.schedule()
    for _ in _visits(prepared, schedule, None):
        pass
    records = {record.case.id: record for record in schedule.log.records()}
    return [records[case.id] for case in prepared.plan.cases if case.id in records]


def _visits(prepared: PreparedRun, schedule: Schedule, watcher: Watcher | None) -> Iterator[Record]:
    """Yield the record of each visit, after adding it to the schedule's log."""
    jobs = probe_plan.jobs(schedule, prepared.probe_plan, prepared.executor.hosts[0].cores)
    announced_jobs = _announce(jobs, schedule, watcher) if watcher else jobs
    known_speed = cache(partial(_known_speed, prepared))
    for job, visit in job_records(prepared.executor, announced_jobs):
        record = probe_plan.visit_record(job, visit, known_speed(scope(visit)))
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


def _differences(old_run: RunDescription, run: RunDescription, awaits_hosts: bool) -> Iterator[str]:
    yield from _suite_differences(old_run, run)
    if missing_ids := set(old_run.planned).difference(run.planned):
        first_id = next(name for name in old_run.planned if name in missing_ids)
        yield f"list of cases{_thread_remark(old_run, run) or f' (it has {first_id}, and the suite does not now)'}"
    # In a cluster any kind of host may join first, even one that the earlier run did not have.
    kinds = {old_run.fingerprint: old_run.environment, **old_run.environments}
    if not kinds.keys() & {run.fingerprint, *run.environments}:
        if awaits_hosts and all(other_hardware(kind, run.environment) for kind in kinds.values()):
            return
        names = differing(old_run.environment, run.environment) or ["in a way that only an earlier convbench compared"]
        yield f"environment ({', '.join(names)})"


def _suite_differences(old_run: RunDescription, target: RunDescription | Suite) -> Iterator[str]:
    """Yield what of a suite may not change: its name, and the protocol except for the budget, which changes no number.

    Cases may be added.
    """
    if old_run.name != target.name:
        yield f"suite's name ({old_run.name})"
    if (replace(old_run.protocol, budget=target.protocol.budget), old_run.metrics) != (target.protocol, target.metrics):
        yield "protocol"


def _thread_remark(old_run: RunDescription, run: RunDescription) -> str:
    """A remark in brackets if two lists of cases differ only by what ``threads: all`` means; else empty."""
    pairs = list(zip(old_run.planned, run.planned, strict=False))
    if len(old_run.planned) != len(run.planned) or any(THREADS.sub("", a) != THREADS.sub("", b) for a, b in pairs):
        return ""
    old, new = ((THREADS.search(case) or ["", "1"])[1] for case in next(pair for pair in pairs if pair[0] != pair[1]))
    return f" (`threads: all` means {new} here and meant {old}: write the number)"
