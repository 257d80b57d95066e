"""Record <-> JSON lines: a run is a directory that is appended to, resumed and merged; files are the only truth.

A line is on disk before the next case starts. A line that a killed process left unfinished is dropped; any other damage
is said with its place.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from convbench.core import metrics
from convbench.core.errors import StoreError
from convbench.core.metric import Metric
from convbench.core.record import SCHEMA_VERSION, Record, Run

RUN, RESULTS, CSV, LOCK = "run.json", "results.jsonl", "results.csv", ".lock"
Stored = tuple[Run, list[Record]]
WORDS = {field.name for field in fields(Metric)} - {"name", "unit", "better"}


@cache
def _runs() -> TypeAdapter[Run]:
    return TypeAdapter(Run)


@cache
def _records() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def exists(directory: Path) -> bool:
    return (directory / RUN).exists()


def start(directory: Path, run: Run) -> None:
    """Write ``run.json`` of a new run; a run that is already there is set aside under ``previous/``, never overwritten.

    Raises StoreError where the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _set_aside(directory)
        (directory / RUN).write_bytes(_runs().dump_json(run, indent=1) + b"\n")
        (directory / RESULTS).touch()
    except OSError as error:
        raise _unwritable(directory, error) from error


def append(directory: Path, record: Record) -> None:
    """One more line, in one write, forced to disk."""
    line = _records().dump_json(record, exclude=_known_words(record)) + b"\n"
    with (directory / RESULTS).open("ab", buffering=0) as file:
        file.write(line)
        os.fsync(file.fileno())


def load(path: Path) -> Stored:
    """A run from its directory or any file in it. Raises StoreError naming the file and line that cannot be read."""
    directory = path if path.is_dir() else path.parent
    if not exists(directory):
        raise StoreError(f"{path}: not a run: there is no {RUN} in {directory}")
    return read_run(directory), list(_read_records(directory / RESULTS))


def read_run(directory: Path) -> Run:
    try:
        run = _runs().validate_json((directory / RUN).read_bytes())
    except OSError as error:
        raise StoreError(f"{directory / RUN}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise StoreError(f"{directory / RUN}: not written by convbench, or damaged: {_reason(error)}") from error
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


def merge(runs: Sequence[Stored]) -> Stored:
    """The union of the shards of one suite. Raises StoreError where they are of different suites or protocols."""
    first, _ = runs[0]
    for run, _ in runs:
        if (run.name, run.protocol) != (first.name, first.protocol):
            raise StoreError(
                f"{run.name!r} and {first.name!r} are different suites or protocols: they cannot be merged"
            )
    planned = tuple(dict.fromkeys(case for run, _ in runs for case in run.planned))
    equal = {case: others for run, _ in runs for case, others in run.equal.items()}
    return replace(first, planned=planned, equal=equal), union(records for _, records in runs)


def union(several: Iterable[Iterable[Record]]) -> list[Record]:
    """A Record a case: of several of one case the first that was measured, or the first where none was."""
    kept: dict[str, Record] = {}
    for record in chain.from_iterable(several):
        before = kept.get(record.case.id)
        if before is None or (before.status != "ok" and record.status == "ok"):
            kept[record.case.id] = record
    return list(kept.values())


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the run directory, made where it is missing, for this process.

    Raises StoreError where it cannot be written or another process measures into it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK).open("w")
    except OSError as error:
        raise _unwritable(directory, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(f"{directory}: another convbench is measuring into it: wait, or choose --out") from error
        yield


def measured(records: Iterable[Record]) -> set[str]:
    return {record.case.id for record in records}


def _known_words(record: Record) -> dict[str, Any]:
    """What is not stored: the words of our own metrics. Those of anybody's own are, for readers without the package."""
    ours = (place for place, reading in enumerate(record.readings) if metrics.is_ours(reading.metric))
    return {"readings": {place: {"metric": WORDS} for place in ours}}


def _read_records(path: Path) -> Iterator[Record]:
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return
        try:
            yield _records().validate_json(line)
        except ValidationError as error:
            raise StoreError(f"{path}:{number}: not a record: {_reason(error)}") from error


def _set_aside(directory: Path) -> None:
    if not exists(directory):
        return
    started = read_run(directory).started.replace(":", "").replace("+0000", "Z")
    kept = directory / "previous" / (started or "unknown")
    kept.mkdir(parents=True, exist_ok=True)
    for name in (RUN, RESULTS, CSV, "index.html", "profiles"):
        if (directory / name).exists():
            (directory / name).replace(kept / name)


def _unwritable(directory: Path, error: OSError) -> StoreError:
    return StoreError(f"{directory}: cannot be written ({error.strerror}): choose another place with --out")


def _reason(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where + ': ' if where else ''}{first['msg']}"
