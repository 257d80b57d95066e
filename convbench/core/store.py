"""Record <-> JSON lines: a run is a directory that is appended to, resumed and merged; files are the only truth.

A line, one visit to a case, is on disk before the next starts, whole or not at all. A line that a killed process left
unfinished is dropped; any other damage is reported with its place. What stands in a directory is set aside, never
overwritten.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from convbench.core import files, lock, shards, visits
from convbench.core.case import Whole
from convbench.core.commands import Command
from convbench.core.errors import StoreError
from convbench.core.json_form import parse_record, parse_run, reason, record_line, run_text
from convbench.core.record import SCHEMA_VERSION, Record, Run, Visit
from convbench.core.text import digest

RUN, RESULTS, CSV, LOCK = "run.json", "results.jsonl", "results.csv", ".lock"
PREVIOUS = "previous"
"""Below a run: those that were there before it."""
REMEDY = "choose another place with --out"
OF_SUITE = ("name", "suite", "metrics", "protocol")
"""What the shards of one suite share."""
SHARD = "shard "
"""How a merged run names a part: in its list of hosts with a number, in visits with its identity."""
Stored = tuple[Run, list[Record]]


def exists(directory: Path) -> bool:
    """Whether a run was begun there: it has a description that is not empty."""
    try:
        return (directory / RUN).stat().st_size > 0
    except (OSError, ValueError):
        return False


def start(directory: Path, run: Run, records: Iterable[Record] = ()) -> None:
    """Write a new run, with the records that it has already.

    Whatever a run left there is set aside below ``previous/``, never overwritten. Raises StoreError where the directory
    cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _set_aside(directory)
    except (OSError, ValueError) as error:
        raise files.unwritable(directory, error, REMEDY) from error
    lines = b"".join(map(record_line, records))
    files.write(directory / RESULTS, lines, REMEDY)
    describe(directory, run)


def describe(directory: Path, run: Run) -> None:
    """Write the description of a run anew, whole or not at all. Raises StoreError."""
    files.write(directory / RUN, run_text(run), REMEDY)


def append(directory: Path, record: Record) -> None:
    """One more line, forced to disk, whole or not at all. Raises StoreError."""
    files.append(directory / RESULTS, record_line(record), "what was measured before is whole: add --resume")


def leave_out(directory: Path, cases: Collection[str]) -> list[Record]:
    """Take the records of these cases out of a run, a copy with them being set aside; returns those that stay."""
    staying = [line for line, record in _read_lines(directory / RESULTS) if record.case.id not in cases]
    place = _free(directory / PREVIOUS, _started(directory))
    for name in (RESULTS, RUN):
        files.write(place / name, (directory / name).read_bytes(), REMEDY)
    files.write(directory / RESULTS, b"".join(staying), REMEDY)
    return load(directory)[1]


def load(path: Path) -> Stored:
    """A run from its directory or any file in it, the visits to a case joined to one Record, in the order planned.

    Raises StoreError naming the file and line that cannot be read.
    """
    try:
        directory = path if path.is_dir() else path.parent
        there, named = (directory / RUN).exists(), path.exists()
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not there and not named:
        raise StoreError(f"{path}: there is no such run: name a run directory, or a file in it")
    if not there:
        raise StoreError(f"{path}: not a run: there is no {RUN} in {directory}")
    if not named:
        raise StoreError(f"{path}: no such file: {directory} is a run and has none of that name")
    run, records = read_run(directory), visits.join_visits(record for _, record in _read_lines(directory / RESULTS))
    place = {case: number for number, case in enumerate(run.planned)}
    return run, sorted(records, key=lambda record: place.get(record.case.id, len(place)))


def read_run(directory: Path) -> Run:
    """``run.json`` of a run. Raises StoreError where it cannot be read, is none of ours or of a newer convbench."""
    try:
        run = parse_run((directory / RUN).read_bytes())
    except OSError as error:
        raise StoreError(f"{directory / RUN}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise StoreError(f"{directory / RUN}: not written by convbench, or damaged: {reason(error)}") from error
    if run.schema_version > SCHEMA_VERSION:
        raise StoreError(f"{directory / RUN}: written by a newer convbench (schema {run.schema_version}): upgrade")
    return run


def drop_unfinished_line(directory: Path) -> bool:
    """Cut off what a killed process left of its last line, so that appending goes on cleanly; says whether it did."""
    results = directory / RESULTS
    if not results.exists():
        results.touch()
        return False
    content = results.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return False
    os.truncate(results, whole)
    return True


def identity(run: Run) -> str:
    """The same of all copies of a run, and of no other: shards of one suite may begin in the same second."""
    return digest(run.name, run.started, run.fingerprint, run.command, run.suite, *run.planned)


def repeats(runs: Sequence[Stored]) -> bool:
    """Whether a run, with the same records, is among them twice."""
    return any(run in runs[:at] for at, run in enumerate(runs))


def merge(runs: Sequence[Stored]) -> Stored:
    """The union of the shards of one suite. Raises StoreError where they are of different suites or protocols.

    A visit says which of them it was made in: a round of two runs is not one moment on one machine, and no ratio is
    formed in it.
    """
    first, _ = runs[0]
    for run, _ in runs:
        differing = [field for field in OF_SUITE if _of_suite(run, field) != _of_suite(first, field)]
        if differing:
            raise StoreError(
                f"{run.name!r} of {run.started} and {first.name!r} of {first.started} are different suites or "
                f"protocols ({', '.join(differing)}): they cannot be merged"
            )
    if len(runs) > 1:
        runs = [(run, _placed(run, records)) for run, records in runs]
    planned = tuple(dict.fromkeys(case for run, _ in runs for case in run.planned))
    equal = {case: others for run, _ in runs for case, others in run.equal.items()}
    command = str(replace(Command.of(first), shard=""))
    described = [run for run, _ in runs]
    _refuse_other_sweeps(described)
    _refuse_other_code(chain.from_iterable(records for _, records in runs))
    merged = replace(first, command=command, planned=planned, equal=equal, shards=shards.of(described))
    later = tuple(dict.fromkeys(case for run in described for case in run.later))
    merged = replace(merged, later=later, **_of_hosts(described))
    records = union(records for _, records in runs)
    return replace(merged, parts=_parts(merged, runs, records)), records


def _placed(run: Run, records: Sequence[Record]) -> list[Record]:
    """Records whose visits say which run they are of; those of a merged run say it already."""
    name = f"{SHARD}{identity(run)}"
    return [replace(record, visits=tuple(_placed_visit(visit, name) for visit in record.visits)) for record in records]


def _placed_visit(visit: Visit, run: str) -> Visit:
    return visit if visit.host.startswith(SHARD) else replace(visit, host=f"{run} {visit.host}".strip())


def _parts(merged: Run, runs: Sequence[Stored], records: Sequence[Record]) -> tuple[str, ...]:
    """What tells the runs all of whose results a merged run has; of two that measured the same, it has the first's."""
    merged_ids = set(map(id, records))
    whole = (run for run, own in runs if all(id(record) in merged_ids for record in own if record.status == "ok"))
    parts = dict.fromkeys(chain.from_iterable((identity(run), *run.parts) for run in whole))
    return tuple(part for part in parts if part != identity(merged))  # a single run is merged to a copy of itself


def _of_suite(run: Run, field: str) -> object:
    """What a run has of the suite in a field; a budget is the command's own, and changes no number."""
    return replace(run.protocol, budget=None) if field == "protocol" else getattr(run, field)


def _refuse_other_sweeps(runs: Sequence[Run]) -> None:
    """Raises StoreError where shards have cases chosen in different ways, so that they are no parts of one sweep."""
    of_shards = [run for run in runs if shards.held(run)]
    for run in of_shards[1:]:
        if shards.asked(run) != shards.asked(of_shards[0]):
            raise StoreError(
                f"{run.name!r} of {run.started} has other overrides, --only or --skip than that of "
                f"{of_shards[0].started}: they are no shards of one sweep, run one of them again as the other was"
            )


def _refuse_other_code(records: Iterable[Record]) -> None:
    """Raises StoreError where a module of the user's was another for some of the cases.

    It is asked of each package of models by itself: two may bring modules of one name, such as ``utils``.
    """
    versions: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        model = record.case.architecture
        package = re.split("[.:]", model.model.name)[0] if isinstance(model, Whole) else ""
        for module, content in record.code.items():
            versions[package, module].add(content)
    if other := sorted({module for (_, module), contents in versions.items() if len(contents) > 1}):
        raise StoreError(
            f"{', '.join(other)} changed between the shards: go on with the older one by --resume=stale, then merge"
        )


def _of_hosts(runs: Sequence[Run]) -> dict[str, Any]:
    """What merged runs say of their hosts, runs on one host being numbered as shards; nothing where all are alike."""
    if not any(run.hosts for run in runs) and len({run.fingerprint for run in runs}) == 1:
        return {}
    hosts: dict[str, str] = {}
    for name, kind in chain.from_iterable((run.hosts or {SHARD: run.fingerprint}).items() for run in runs):
        numbered = sum(other.startswith(SHARD) for other in hosts)
        hosts[f"{SHARD}{numbered + 1}" if name.startswith(SHARD) else name] = kind
    spelled = (run.environments or {run.fingerprint: run.environment} for run in runs)
    return {
        "hosts": hosts,
        "environments": dict(chain.from_iterable(environments.items() for environments in spelled)),
        "between_hosts": " ".join(dict.fromkeys(run.between_hosts for run in runs if run.between_hosts)),
    }


def union(runs: Iterable[Iterable[Record]]) -> list[Record]:
    """A Record a case: of several of one case the first that was measured, or the first where none was."""
    by_case: dict[str, Record] = {}
    for record in chain.from_iterable(runs):
        before = by_case.get(record.case.id)
        if before is None or (before.status != "ok" and record.status == "ok"):
            by_case[record.case.id] = record
    return list(by_case.values())


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the run directory, made where it is missing, for this process.

    Raises StoreError where it cannot be written or another process measures into it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise files.unwritable(directory, error, REMEDY) from error
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold_or_raise(directory / LOCK))
        except lock.Held as error:
            raise StoreError(f"{directory}: another convbench is measuring into it: wait, or choose --out") from error
        yield


def _read_lines(path: Path) -> Iterator[tuple[bytes, Record]]:
    """Every whole line with its record; what a killed process left of one at the end is none."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        try:
            yield line + b"\n", parse_record(line)
        except ValidationError as error:
            raise StoreError(f"{path}:{number}: not a record: {reason(error)}") from error


def _set_aside(directory: Path) -> None:
    """Move what a run left there into a folder of its own; a run is known by any of its files, whole or damaged."""
    files_there = [name for name in (RUN, RESULTS, CSV, "index.html", "profiles") if (directory / name).exists()]
    if not {RUN, RESULTS} & set(files_there):
        return
    place = _free(directory / PREVIOUS, _started(directory))
    place.mkdir(parents=True)
    for name in files_there:
        (directory / name).replace(place / name)


def _started(directory: Path) -> str:
    """When the run there began, as the name of a folder."""
    with suppress(StoreError):
        return re.sub(r"[^0-9TZ-]", "", read_run(directory).started.replace("+00:00", "Z"))[:40] or "unknown"
    return "unknown"


def _free(folder: Path, name: str) -> Path:
    """A place that nothing stands at: runs that began in the same second are told apart by a number."""
    numbered = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(place for place in map(folder.joinpath, numbered) if not place.exists())
