"""Record <-> JSON lines: a run is a directory that is appended to and resumed; files are the only truth.

A line, one visit to a case, is on disk before the next starts, whole or not at all. A line that a killed process left
unfinished is dropped; any other damage is reported with its place. What stands in a directory is set aside, never
overwritten.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from pydantic import ValidationError

from convbench.core import files, lock, visits
from convbench.core.errors import StoreError
from convbench.core.json_form import description_text, parse_description, parse_record, reason, record_line
from convbench.core.record import SCHEMA_VERSION, Record, RunDescription

RUN, RESULTS, CSV, LOCK = "run.json", "results.jsonl", "results.csv", ".lock"
PREVIOUS = "previous"
"""Below a run: those that were there before it."""
REMEDY = "choose another place with --out"
Stored = tuple[RunDescription, list[Record]]


def exists(directory: Path) -> bool:
    """Whether a run was begun there: it has a description that is not empty."""
    return _has_content(directory / RUN)


def has_results(directory: Path) -> bool:
    """Whether records lie there, be it of a run whose description is lost."""
    return _has_content(directory / RESULTS)


def _has_content(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except (OSError, ValueError):
        return False


def report_elsewhere(directory: Path) -> str:
    """What to do where nothing more can be written beside a run."""
    return f"what was measured is whole: convbench report {shlex.quote(str(directory))} --out ELSEWHERE"


def start(directory: Path, run: RunDescription, records: Iterable[Record] = ()) -> None:
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


def describe(directory: Path, run: RunDescription) -> None:
    """Write the description of a run anew, whole or not at all. Raises StoreError."""
    files.write(directory / RUN, description_text(run), REMEDY)


def append(directory: Path, record: Record) -> None:
    """One more line, forced to disk, whole or not at all. Raises StoreError, also where the run was taken away."""
    if not (directory / RUN).exists():  # a line alone in a folder made anew is no run, and could not be read
        raise StoreError(
            f"{directory}: the run has gone from there while it was measured: what was measured before lies "
            "where it was moved to: go on with it there, by --out and --resume"
        )
    files.append(directory / RESULTS, record_line(record), "what was measured before is whole: add --resume")


def leave_out(directory: Path, cases: Collection[str]) -> list[Record]:
    """Take the records of these cases out of a run, a copy with them being set aside; returns those that stay."""
    lines = [line for line, record in _read_lines(directory / RESULTS) if record.case.id not in cases]
    place = _free_place(directory / PREVIOUS, _start_name(directory))
    for name in (RESULTS, RUN):
        files.write(place / name, (directory / name).read_bytes(), REMEDY)
    files.write(directory / RESULTS, b"".join(lines), REMEDY)
    return load(directory)[1]


def load(path: Path) -> Stored:
    """A run from its directory or any file in it, the visits to a case joined to one Record, in the order planned.

    Raises StoreError naming the file and line that cannot be read.
    """
    try:
        directory = path if path.is_dir() else path.parent
        is_run, path_exists = (directory / RUN).exists(), path.exists()
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not is_run and not path_exists:
        raise StoreError(f"{path}: there is no such run: name a run directory, or a file in it")
    if not is_run:
        raise StoreError(f"{path}: not a run: there is no {RUN} in {directory}")
    if not path_exists:
        raise StoreError(f"{path}: no such file: {directory} is a run and has none of that name")
    run = read_description(directory)
    if run.planned and not (directory / RESULTS).exists():  # a run that began has it, be it empty
        raise StoreError(
            f"{directory}: there is no {RESULTS}, which holds all that was measured: copy the run whole, or measure it "
            "anew without --resume"
        )
    records = visits.join_visits(record for _, record in _read_lines(directory / RESULTS))
    place = {case: number for number, case in enumerate(run.planned)}
    return run, sorted(records, key=lambda record: place.get(record.case.id, len(place)))


def read_description(directory: Path) -> RunDescription:
    """``run.json`` of a run. Raises StoreError where it cannot be read, is none of ours or of a newer convbench."""
    try:
        run = parse_description((directory / RUN).read_bytes())
    except OSError as error:
        raise StoreError(f"{directory / RUN}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise StoreError(f"{directory / RUN}: not written by convbench, or damaged: {reason(error)}") from error
    if run.schema_version > SCHEMA_VERSION:
        raise StoreError(f"{directory / RUN}: written by a newer convbench (schema {run.schema_version}): upgrade")
    return run


def drop_unfinished_line(directory: Path) -> bool:
    """Cut off what a killed process left of its last line, so that appending goes on cleanly; says whether it did.

    Raises StoreError.
    """
    results = directory / RESULTS
    try:
        content = results.read_bytes() if results.exists() else b""
        end = content.rfind(b"\n") + 1
        if end == len(content):
            return False
        os.truncate(results, end)
    except OSError as error:
        raise files.unwritable(results, error, REMEDY) from error
    return True


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
        except lock.AlreadyLocked as error:
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
            remedy = "without this line all others can be read"
            raise StoreError(f"{path}:{number}: not a record: {reason(error)}: {remedy}") from error


def _set_aside(directory: Path) -> None:
    """Move what a run left there into a folder of its own; a run is known by any of its files, whole or damaged."""
    names = [name for name in (RUN, RESULTS, CSV, "index.html", "profiles") if (directory / name).exists()]
    if not {RUN, RESULTS} & set(names):
        return
    place = _free_place(directory / PREVIOUS, _start_name(directory))
    place.mkdir(parents=True)
    for name in names:
        (directory / name).replace(place / name)


def _start_name(directory: Path) -> str:
    """When the run there began, as the name of a folder."""
    with suppress(StoreError):
        return re.sub(r"[^0-9TZ-]", "", read_description(directory).started.replace("+00:00", "Z"))[:40] or "unknown"
    return "unknown"


def _free_place(folder: Path, name: str) -> Path:
    """A place that nothing stands at: runs that began in the same second are told apart by a number."""
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    return next(place for place in map(folder.joinpath, names) if not place.exists())
